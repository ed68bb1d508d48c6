"""From a dvc.yaml entry, its access and the settings to a plan (plan.py): what is decided before anything starts."""
