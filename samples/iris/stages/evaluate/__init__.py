"""Evaluate: the registered model is measured on data/test.csv."""
