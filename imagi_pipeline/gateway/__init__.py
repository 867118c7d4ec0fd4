"""The HTTP side: what talks to a running Dagster from outside."""
