"""Geometry of small binary patches that losses are made of: distances, skeletons, simple points."""
