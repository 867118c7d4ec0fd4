"""The gateway is the HTTP side: it talks to a running Dagster from outside, and never imports it."""
