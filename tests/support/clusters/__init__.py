"""Places to run for tests: Slurm, Ray, and a cluster in virtual time."""
