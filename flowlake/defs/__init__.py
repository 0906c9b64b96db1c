"""The Dagster shell: partitions, resources, assets, checks, jobs, schedules, sensors; each a few lines over the core."""
