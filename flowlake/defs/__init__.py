"""The Dagster shell: partitions, resources, assets, checks, jobs, schedules and sensors, each a few lines over the core."""
