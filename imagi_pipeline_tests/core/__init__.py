"""Tests of the core, which is plain Python."""
