"""Slices one by one are those of the stack read whole; what is written reads back with its place in space."""

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.spacing import spacing_of
from stages.common.imaging.stacks import read_stack
from stages.predict.files.writing import StackGeometry, write_mask, write_probability
from tests.support.stacks.any_form import read_geometry
from tests.support.stacks.plain import read_dtype, read_header, read_shape, read_slices
from tests.support.stacks.small import STACK, TIFF_KINDS, save_nifti

SPACING_UM = (5.0, 0.994, 0.621)
nifti: Any = nibabel


@pytest.mark.parametrize("how", TIFF_KINDS.values(), ids=TIFF_KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_slices_of_a_tiff_are_those_of_the_whole_stack(tmp_path: Path, how: dict[str, Any], dtype: str) -> None:
    """Every kind of TIFF: the same voxels and type, one slice at a time, and the shape before any is read."""
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, STACK.astype(dtype) * 3, **how)
    whole = read_stack(file)
    assert read_shape(file) == whole.shape
    slices = list(read_slices(file))
    assert read_dtype(file).newbyteorder("=") == slices[0].dtype.newbyteorder("=")
    assert [plane.shape for plane in slices] == [whole.shape[1:]] * len(whole)
    assert slices[0].dtype.newbyteorder("=") == whole.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.stack(slices), whole)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("slope", [1.0, 0.5])
@pytest.mark.parametrize("extra", [(), (None,)], ids=["3D", "4D"])
def test_slices_of_a_nifti_are_those_of_the_whole_stack(
    tmp_path: Path, name: str, slope: float, extra: tuple[None, ...]
) -> None:
    """Plain and compressed, scaled by the header or not, with a last axis of one or without."""
    image = nifti.Nifti1Image(STACK.T[(..., *extra)], np.eye(4))
    image.header.set_slope_inter(slope, 3.0)
    nibabel.save(image, tmp_path / name)
    whole = read_stack(tmp_path / name)
    assert read_shape(tmp_path / name) == whole.shape
    assert read_dtype(tmp_path / name) == whole.dtype
    np.testing.assert_array_equal(np.stack(list(read_slices(tmp_path / name))), whole)


@pytest.mark.parametrize("name", ["a.tif", "a.nii.gz"])
def test_a_cut_file_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    """Half a file raises the error that the whole reader raises, wherever the slices break off."""
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, STACK, compression="zlib")
    else:
        save_nifti(tmp_path / name, STACK, (1, 1, 2), "micron")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as raised:
        _ = read_shape(tmp_path / name), list(read_slices(tmp_path / name))
    assert raised.value.file == tmp_path / name


def test_an_error_of_the_reader_of_slices_is_its_own() -> None:
    """What the caller raises between two slices is not taken for damage of the file."""
    file = next(iter((Path(__file__).parents[4] / "samples/phantom/images").glob("*.tif")))

    def fail(_plane: object) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        list(map(fail, read_slices(file)))


def written(folder: Path, name: str, source: str | None = None, mask: NDArray[np.bool_] | None = None) -> Path:
    mask = STACK > 100 if mask is None else mask
    place = StackGeometry(shape_zyx=mask.shape, spacing_um=SPACING_UM, source=folder / (source or "source.tif"))
    write_mask(folder / name, iter(mask), place)
    return folder / name


@pytest.mark.parametrize("name", ["m.tif", "m.TIFF", "m.ome.tif", "m.nii", "m.nii.gz"])
def test_a_mask_reads_back_with_its_spacing(tmp_path: Path, name: str) -> None:
    """Every kind: axes z, y, x; two values; the spacing in µm; equal masks are equal files."""
    file = written(tmp_path, name)
    found = read_stack(file)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, (STACK > 100) * (1 if ".nii" in name else 255))
    told = spacing_of(read_header(file))
    assert told.spacing_um == pytest.approx(SPACING_UM)
    assert told.warnings == ()
    if "ome" not in name:  # whose metadata have an identity of their own
        former = file.read_bytes()
        assert written(tmp_path, name).read_bytes() == former


@pytest.mark.parametrize("name", ["m.tif", "m.ome.tif", "m.nii"])
@pytest.mark.parametrize("shape_zyx", [(3, 4, 1), (3, 1, 4), (1, 4, 1), (3, 1, 1), (1, 1, 1), (4, 5, 3)])
def test_a_thin_mask_reads_back(tmp_path: Path, shape_zyx: tuple[int, int, int], name: str) -> None:
    """An axis of one voxel, or of three, is none of samples or colours."""
    mask = np.random.default_rng(0).random(shape_zyx) > 0.5
    np.testing.assert_array_equal(read_stack(written(tmp_path, name, mask=mask)) > 0, mask)


def test_imagej_sees_a_stack_of_slices(tmp_path: Path) -> None:
    """ImageJ's own fields: slices rather than frames, unit and depth of a voxel, pixels per unit."""
    with tifffile.TiffFile(written(tmp_path, "m.tif")) as tiff:
        described = tiff.imagej_metadata or {}
        assert (described["slices"], described["unit"], described["spacing"]) == (len(STACK), "micron", 5.0)
        above, below = tiff.pages.first.tags["XResolution"].value
        assert above / below == pytest.approx(1 / SPACING_UM[2])
        assert tiff.series[0].axes == "ZYX"


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_a_nifti_keeps_affine_units_and_orientation(tmp_path: Path, kind: str, name: str) -> None:
    """An oblique, mirrored source: the mask lies on it voxel by voxel in any viewer."""
    affine = np.array([[-0.6, 0.1, 0, 7], [0.1, 0.9, 0.2, -3], [0, -0.2, 5, 11], [0, 0, 0, 1]])
    image = getattr(nifti, kind)(STACK.T.astype(np.int16), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(2.0, 1.0)
    image.header["descrip"] = b"a mouse"
    nibabel.save(image, tmp_path / "source.nii.gz")
    source: Any = nibabel.load(tmp_path / "source.nii.gz")
    found: Any = nibabel.load(written(tmp_path, name, "source.nii.gz"))
    assert type(found) is type(source)
    np.testing.assert_array_equal(found.affine, source.affine)
    for field in ("sform_code", "qform_code", "pixdim", "xyzt_units", "descrip", "quatern_b"):
        np.testing.assert_array_equal(found.header[field], source.header[field])
    np.testing.assert_array_equal(np.asarray(found.dataobj), (STACK > 100).T)


def meta_image(file: Path, stack: NDArray[np.uint8], turns: str, origin: str) -> Path:
    """MetaImage, whose world is LPS: `turns` has the direction of each axis of the array in a row."""
    x, y, z = SPACING_UM[::-1]
    sizes = " ".join(map(str, stack.shape[::-1]))
    fields = (
        f"NDims = 3\nDimSize = {sizes}\nElementSpacing = {x} {y} {z}\nTransformMatrix = {turns}\nOffset = {origin}\n"
    )
    file.write_bytes(f"{fields}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + stack.tobytes())
    return file


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_a_mask_of_a_meta_image_is_in_its_place(tmp_path: Path, name: str) -> None:
    """Origin and directions of the source, in RAS: a viewer that knows both formats shows the one on the other."""
    source = meta_image(tmp_path / "source.mha", STACK, "1 0 0 0 1 0 0 0 -1", "3 4 70")
    place = StackGeometry(shape_zyx=STACK.shape, spacing_um=SPACING_UM, source=source, world=read_geometry(source))
    write_mask(tmp_path / name, iter(STACK > 100), place)
    found: Any = nibabel.load(tmp_path / name)
    z, y, x = SPACING_UM
    np.testing.assert_allclose(found.affine, [[-x, 0, 0, -3], [0, -y, 0, -4], [0, 0, -z, 70], [0, 0, 0, 1]], rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(found.dataobj), (STACK > 100).T)
    assert found.header.get_xyzt_units()[0] == "unknown"  # as the source: another program scales by a unit


def test_a_mask_of_a_meta_image_without_spacing_gets_the_given_one(tmp_path: Path) -> None:
    """1 × 1 × 1 is what programs write that know nothing."""
    source = meta_image(tmp_path / "source.mha", STACK, "1 0 0 0 1 0 0 0 1", "0 0 0")
    source.write_bytes(source.read_bytes().replace(b"ElementSpacing = 0.621 0.994 5.0", b"ElementSpacing = 1 1 1"))
    world = read_geometry(source)
    place = StackGeometry(shape_zyx=STACK.shape, spacing_um=SPACING_UM, source=source, world=world)
    write_mask(tmp_path / "m.nii", iter(STACK > 100), place)
    assert spacing_of(read_header(tmp_path / "m.nii")).spacing_um == pytest.approx(SPACING_UM)


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.tif"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_mask_keeps_the_order_of_its_source_s_axes(tmp_path: Path, order: tuple[int, ...], name: str) -> None:
    """Whichever axis of the source's array is z: in NIfTI voxel by voxel on the source's array, in TIFF z, y, x."""
    affine = np.zeros((4, 4))
    affine[order, range(3)] = np.array(SPACING_UM[::-1])[list(order)]
    affine[3, 3] = 1
    image = nifti.Nifti1Image(STACK.T.transpose(order), affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "source.nii")
    source = read_stack(tmp_path / "source.nii")
    np.testing.assert_array_equal(source, STACK)
    file = written(tmp_path, name, "source.nii", mask=source > 100)
    np.testing.assert_array_equal(read_stack(file) > 0, STACK > 100)
    if ".nii" in name:
        found: Any = nibabel.load(file)
        np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(image.dataobj) > 100)
        np.testing.assert_allclose(found.affine, affine, rtol=1e-6)  # 32-bit floats


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
@pytest.mark.parametrize("width", [2**15 - 1, 2**15])
def test_a_tiff_of_any_width_becomes_a_nifti(tmp_path: Path, name: str, width: int) -> None:
    """NIfTI-1 counts an axis in 16 bits; beyond that it is NIfTI-2, with the same place in space."""
    mask = np.random.default_rng(0).random((2, 3, width)) > 0.5
    file = written(tmp_path, name, mask=mask)
    np.testing.assert_array_equal(read_stack(file), mask)
    assert spacing_of(read_header(file)).spacing_um == pytest.approx(SPACING_UM)
    assert type(nifti.load(file)) is (nifti.Nifti1Image if width < 2**15 else nifti.Nifti2Image)


def test_a_probability_is_kept_exactly(tmp_path: Path) -> None:
    """float32 in both kinds."""
    values = np.random.default_rng(0).random(STACK.shape, dtype=np.float32)
    place = StackGeometry(shape_zyx=values.shape, spacing_um=SPACING_UM, source=tmp_path / "a.tif")
    for name in ("p.tif", "p.nii.gz"):
        write_probability(tmp_path / name, iter(values), place)
        np.testing.assert_array_equal(read_stack(tmp_path / name), values)


def test_a_compressed_mask_ends_well(tmp_path: Path) -> None:
    """gzip's own checksum is there."""
    with gzip.open(written(tmp_path, "m.nii.gz")) as stream:
        assert len(stream.read()) == 352 + STACK.size
