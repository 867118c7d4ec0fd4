"""The core does the work itself, in plain Python: it knows no Dagster and no web framework."""
