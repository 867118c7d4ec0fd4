"""Connections to hosts that other people name: addresses judged, deadlines kept.

One download, one delivery; when and how often is decided above (engine, callbacks).
"""
