"""Intensities: how they are distributed, exact percentiles, and the scale that networks see."""
