"""What touches Dagster's internals.

One small module each, with a test that fails when Dagster changes them.
"""
