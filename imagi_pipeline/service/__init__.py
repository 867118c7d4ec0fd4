"""The processes of `imagi serve`: what starts, watches and ends them."""
