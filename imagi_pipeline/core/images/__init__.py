"""Bytes of an image -> smaller bytes of the same picture.

Nothing here knows where they come from or go to.
"""
