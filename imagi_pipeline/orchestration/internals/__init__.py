"""This room touches Dagster's internals.

Each of them has one small module, with a test that fails when Dagster changes them.
"""
