"""Validate: data/raw.csv becomes data/valid.csv, or the run stops."""
