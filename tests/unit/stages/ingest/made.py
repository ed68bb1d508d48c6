"""Small sources of stacks on disk, good ones; a test damages what it is about."""

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

SHAPE_ZYX = (4, 24, 20)
SPACING_UM = (2.0, 0.5, 0.5)
HEADER = ("id", "image", "label", "spacing_z_um", "spacing_y_um", "spacing_x_um")

nifti: Any = nibabel.Nifti1Image  # its methods carry no types


def image_zyx(seed: int) -> NDArray[np.uint8]:
    """Noise with a bright tube along x."""
    image = np.random.default_rng(seed).integers(0, 60, SHAPE_ZYX).astype(np.uint8)
    image[1:3, 8:12] += 120
    return image


def label_zyx(seed: int = 0) -> NDArray[np.uint8]:
    """The tube of `image_zyx`, less a few voxels by `seed`, so that labels differ."""
    label = np.zeros(SHAPE_ZYX, np.uint8)
    label[1:3, 8:12] = 255
    label[1, 8, : seed % 15] = 0
    return label


def row(name: str, **changes: object) -> dict[str, object]:
    """A row of dataset.csv for the files of `make_source`."""
    z, y, x = SPACING_UM
    files = {"image": f"images/{name}.tif", "label": f"labels/{name}.tif"}
    return {"id": name, **files, "spacing_z_um": z, "spacing_y_um": y, "spacing_x_um": x, **changes}


def write_table(folder: Path, rows: list[dict[str, object]]) -> Path:
    """dataset.csv with the keys of the first row as its header."""
    file = folder / "dataset.csv"
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return file


def save_tiff(file: Path, stack_zyx: NDArray[Any], **how: Any) -> None:
    """A grey TIFF; tifffile would take three or four slices for colours."""
    tifffile.imwrite(file, stack_zyx, photometric="minisblack", **how)


def make_source(folder: Path, names: tuple[str, ...] = ("v1", "v2", "v3")) -> Path:
    """A folder with dataset.csv and TIFF stacks."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed, name in enumerate(names):
        save_tiff(folder / "images" / f"{name}.tif", image_zyx(seed), compression="zlib")
        save_tiff(folder / "labels" / f"{name}.tif", label_zyx(seed))
    write_table(folder, [row(name) for name in names])
    return folder


def save_nifti(file: Path, stack_zyx: NDArray[Any], zooms_xyz: tuple[float, float, float], unit: str | None) -> None:
    """NIfTI-1 with these zooms; `unit` None leaves the unit unknown."""
    image = nifti(stack_zyx.T, np.diag([*zooms_xyz, 1.0]))
    if unit is not None:
        image.header.set_xyzt_units(unit)
    nibabel.save(image, file)


def make_minivess(folder: Path, numbers: tuple[int, ...] = (1, 2), unit: str | None = "micron") -> Path:
    """MiniVess' folders: raw/mv01.nii.gz and seg/mv01_y.nii.gz."""
    for kind in ("raw", "seg"):
        (folder / kind).mkdir(parents=True)
    z, y, x = SPACING_UM
    for number in numbers:
        save_nifti(folder / "raw" / f"mv{number:02}.nii.gz", image_zyx(number), (x, y, z), unit)
        save_nifti(folder / "seg" / f"mv{number:02}_y.nii.gz", label_zyx(number) // 255, (x, y, z), unit)
    return folder
