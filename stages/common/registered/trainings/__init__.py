"""Trainings: the cells of one loss with equal data, code and params, registered as one version."""
