"""This room makes calls to hosts that other people name: it judges addresses and keeps deadlines.

It makes one download or one delivery; the engine and the callbacks decide when and how often.
"""
