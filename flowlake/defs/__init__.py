"""The Dagster shell: partitions, resources, assets, checks, jobs, schedules: each a few lines over the core."""
