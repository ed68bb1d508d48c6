"""Registered models: found by their names, and brought back without unpickling anything."""
