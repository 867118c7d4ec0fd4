"""`python -m imagi_pipeline` is the `imagi` command."""

from imagi_pipeline.cli.commands import app

app()
