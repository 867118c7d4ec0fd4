"""The work itself in plain Python: no Dagster, no web framework."""
