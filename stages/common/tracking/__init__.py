"""Runs and models in MLflow, whichever server holds them."""
