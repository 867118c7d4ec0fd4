"""The Dagster side: assets, job, sensor, resources, and what the instance needs."""
