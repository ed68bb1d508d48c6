"""What a person sees of a volume: one slice and one projection of image, label and prediction, small enough to keep."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.intensities.normalise import to_grey

MAX_SIDE = 400  # pixels; a larger picture is thinned by a whole factor

# what a pixel of the error picture says
NOTHING, MISSED, EXCESS, RIGHT = 0, 1, 2, 3

Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class View:
    """Pictures of one size (y, x): `grey` 0..255, masks as booleans, `error` one of the four codes above.

    `unlabelled` is where nobody labelled, None: nowhere.
    """

    grey: Bytes
    label: Mask
    prediction: Mask
    error: Bytes
    unlabelled: Mask | None = None


@dataclass(frozen=True, kw_only=True)
class Views:
    """A volume in two pictures: the slice `slice_z` and the maximum along z. Sides are in µm, y and x."""

    slice_z: int
    depth: int
    sides_um: tuple[float, float]
    slice: View
    projection: View


def take_views(
    image_zyx: NDArray[np.float32],
    label_zyx: Mask,
    prediction_zyx: Mask,
    spacing_um: tuple[float, float, float],
    labelled_zyx: Mask | None = None,
) -> Views:
    """The slice with most label (the first of equals; of the prediction where the label is empty), and projections.

    Errors are shown where somebody labelled. In a projection that is where one voxel of the column is labelled.
    """
    z = fullest_slice(label_zyx if label_zyx.any() else prediction_zyx)
    codes = label_zyx * np.uint8(MISSED) + prediction_zyx * np.uint8(EXCESS)  # both: RIGHT
    if labelled_zyx is not None:
        codes *= labelled_zyx
    unknown = None if labelled_zyx is None else ~labelled_zyx
    hidden: Mask | None = None if unknown is None else np.all(unknown, axis=0)
    projected: tuple[Mask, Mask] = np.any(label_zyx, axis=0), np.any(prediction_zyx, axis=0)
    return Views(
        slice_z=z,
        depth=len(image_zyx),
        sides_um=(image_zyx.shape[1] * spacing_um[1], image_zyx.shape[2] * spacing_um[2]),
        slice=_view(image_zyx[z], label_zyx[z], prediction_zyx[z], codes[z], None if unknown is None else unknown[z]),
        projection=_view(image_zyx.max(axis=0), *projected, most_common(codes), hidden),
    )


def fullest_slice(mask_zyx: Mask) -> int:
    """The z with most voxels in `mask_zyx`; the middle if there is none."""
    counts = np.count_nonzero(mask_zyx, axis=(1, 2))
    return int(counts.argmax()) if counts.any() else len(mask_zyx) // 2


def most_common(codes_zyx: Bytes) -> Bytes:
    """Along z the code that most foreground voxels have; of equals an error goes before RIGHT, MISSED before EXCESS.

    The plain union of all errors would colour nearly every vessel: each has a border, and few borders are exact.
    """
    candidates = (NOTHING, MISSED, EXCESS, RIGHT)
    counts = np.stack([np.count_nonzero(codes_zyx == code, axis=0) for code in candidates])
    counts[NOTHING] = 0  # chosen only where nothing else was counted: argmax takes the first of equals
    chosen: Bytes = counts.argmax(axis=0).astype(np.uint8)
    return chosen


def _view(image_yx: NDArray[np.float32], label: Mask, prediction: Mask, error: Bytes, unlabelled: Mask | None) -> View:
    factor = -(-max(image_yx.shape) // MAX_SIDE)
    thin = (slice(factor // 2, None, factor),) * 2
    return View(
        grey=to_grey(image_yx)[thin],
        label=label[thin],
        prediction=prediction[thin],
        error=error[thin],
        unlabelled=None if unlabelled is None else unlabelled[thin],
    )
