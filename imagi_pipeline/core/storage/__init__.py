"""This room knows every path below the storage root, and writes there: records, manifests, landing folder."""
