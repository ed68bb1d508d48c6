"""A card's recipe in BioImage.IO's words, and the same arithmetic for the test arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.recipe import Recipe

EPSILON = 1e-6  # BioImage.IO's own default, added to what is divided by
AXES = ["channel", "z", "y", "x"]
Step = dict[str, Any]


def refuse_inexpressible(recipe: Recipe) -> None:
    """Raise DataError for a recipe that the format has no words for."""
    if recipe.resample_to_um is not None:
        raise DataError(
            "this network needs stacks resampled to one spacing, and BioImage.IO has no such preprocessing",
            remedy="train a network with preprocess.resample_to_um: null, or use capillary predict",
            value=recipe.resample_to_um,
        )
    if recipe.normalisation == "percentile" and recipe.percentile_high <= 1:
        raise DataError(
            "BioImage.IO only accepts upper percentiles above 1",
            remedy="train with a higher preprocess.percentile_high",
            value=recipe.percentile_high,
        )


def preprocessing(recipe: Recipe) -> list[Step]:
    """The steps from raw intensities to what the network sees, for rdf.yaml."""
    as_float: Step = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    if recipe.normalisation == "percentile":
        ends = {"min_percentile": float(recipe.percentile_low), "max_percentile": float(recipe.percentile_high)}
        scale: Step = {"id": "scale_range", "kwargs": {"axes": AXES, **ends, "eps": EPSILON}}
        return [as_float, scale, {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}}, as_float]
    if recipe.normalisation == "zscore":
        return [as_float, {"id": "zero_mean_unit_variance", "kwargs": {"axes": AXES, "eps": EPSILON}}, as_float]
    return [as_float]


def prepare(image: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """`image` after these steps; of any shape, all of it one sample."""
    values = image.astype(np.float64)
    if recipe.normalisation == "percentile":
        low, high = np.percentile(values, [recipe.percentile_low, recipe.percentile_high])
        values = np.clip((values - low) / (high - low + EPSILON), 0, 1)
    elif recipe.normalisation == "zscore":
        values = (values - values.mean()) / (values.std() + EPSILON)
    prepared: NDArray[np.float32] = values.astype(np.float32)
    return prepared
