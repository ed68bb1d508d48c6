"""Ingest: the table at ingest.source becomes data/raw.csv."""
