"""A recipe for tests that need one and do not look at it."""

from stages.common.imaging.recipe import Recipe

RECIPE = Recipe(normalisation="none", percentile_low=0.5, percentile_high=99.5, resample_to_um=None)
