"""Bytes of a CSV -> table and image references; table and results -> enriched CSV.

Nothing here opens a file or a connection.
"""
