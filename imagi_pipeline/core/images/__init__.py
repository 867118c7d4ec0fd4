"""This room turns the bytes of an image into smaller bytes of the same picture.

Nothing here knows where they come from or where they go.
"""
