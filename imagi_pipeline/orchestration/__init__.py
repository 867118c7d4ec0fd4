"""The Dagster side: assets, job, sensor, resources, and what the instance needs."""

import warnings

import dagster as dg

# Owners of jobs, sensors and schedules are beta, and each command would say so for each of them.
warnings.filterwarnings("ignore", message="Parameter `owners`", category=dg.BetaWarning)
