"""Every path below the storage root, atomic writes, image records, manifests, the landing folder."""
