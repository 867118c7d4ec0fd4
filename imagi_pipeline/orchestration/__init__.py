"""This room is the Dagster side: assets, jobs, sensors, schedules, resources, and what the instance needs."""

import warnings

import dagster as dg

# Dagster warns that owners of jobs, sensors and schedules are beta; each command would show that many times.
warnings.filterwarnings("ignore", message="Parameter `owners`", category=dg.BetaWarning)
