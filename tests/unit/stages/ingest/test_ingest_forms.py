"""Stacks in every form become files in data/raw that every stage reads: same voxels, same spacing, same place."""

import csv
import json
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from stages.common.errors import DataError
from stages.common.imaging.stacks import read_stack
from stages.ingest.ingest import ingest
from stages.ingest.params import Ingest
from tests.support.stacks.plain import read_header
from tests.unit.stages.common.imaging.foreign.written import (
    EVERY,
    SPACING_UM,
    save_hdf5,
    save_meta_image,
    save_nrrd,
    save_slices,
    save_zarr,
)
from tests.unit.stages.ingest.made import image_zyx, label_zyx, row, save_nifti, save_tiff, write_table


def _ingest(
    source: Path, raw: Path, channel: Any = None, level_um: Any = None
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    params = Ingest(
        source=str(source),
        on_invalid="fail",
        label_geometry="world",
        label="binary",
        ignore_value=None,
        channel=channel,
        level_um=level_um,
    )
    ingest(params, raw=raw)
    with (raw / "volumes.csv").open() as stream:
        return list(csv.DictReader(stream)), json.loads((raw / "validation.json").read_text())


def _refused(source: Path, raw: Path, channel: Any = None) -> DataError:
    with pytest.raises(DataError) as refused:
        _ingest(source, raw, channel)
    assert list(raw.iterdir()) == []
    return refused.value


def _source(tmp_path: Path, name: str) -> Path:
    """One volume, image and label saved in the way `name`."""
    source = tmp_path / "source"
    files = {}
    for kind, stack in (("image", image_zyx(0)), ("label", label_zyx())):
        (source / kind).mkdir(parents=True)
        files[kind] = EVERY[name](source / kind, stack).relative_to(source).as_posix()
    write_table(source, [row("v1", **files)])
    return source


def _check(source: Path, raw: Path) -> dict[str, Any]:
    (volume,), report = _ingest(source, raw)
    np.testing.assert_array_equal(read_stack(raw / volume["image"]), image_zyx(0))
    np.testing.assert_array_equal(read_stack(raw / volume["label"]), label_zyx())
    assert sorted(each.name for each in raw.iterdir()) == ["labels.json", "v1", "validation.json", "volumes.csv"]
    assert len(list((raw / "v1").iterdir())) == 2
    return report


@pytest.mark.parametrize("name", EVERY)
def test_every_form_lands_as_a_plain_file(tmp_path: Path, name: str) -> None:
    """With the voxels that it holds and the file's name that later stages know; said once for the set."""
    report = _check(_source(tmp_path, name), tmp_path / "raw")
    assert any("kept as one in data/raw" in note for note in report["notes"])


@pytest.mark.parametrize("name", ["zarr_3", "slices", "hdf5_place", "nrrd_detached", "mhd_packed"])
def test_forms_of_several_files_come_out_of_archives(tmp_path: Path, name: str) -> None:
    """Only what a stack needs is unpacked, be it a folder."""
    source = _source(tmp_path, name)
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(source, "set")
    _check(tmp_path / "set.tar.gz", tmp_path / "raw")


def test_equal_sources_give_equal_bytes(tmp_path: Path) -> None:
    """Whenever they are read: the checksums in the table are of the files in data/raw."""
    for name in ("zarr_2", "nrrd_gzip"):
        source = _source(tmp_path / name, name)
        rows = [_ingest(source, tmp_path / name / f"raw{turn}")[0] for turn in (1, 2)]
        assert rows[0] == rows[1]


def test_the_header_of_the_source_is_the_evidence(tmp_path: Path) -> None:
    """Without a spacing in the table: that of a store, in the words of its format."""
    source = tmp_path / "source"
    (source / "raw").mkdir(parents=True)
    save_hdf5(source / "a.h5", image_zyx(0), um=(4.0, 0.5, 0.6))
    save_tiff(source / "b.tif", label_zyx())
    write_table(source, [row("v1", image="a.h5", label="b.tif", spacing_z_um="4")])
    _, report = _ingest(source, tmp_path / "raw")
    warning = " ".join(report["volumes"][0]["warnings"])
    assert "the image's header 4 × 0.5 × 0.6 µm (HDF5 element_size_um)" in warning


def test_a_label_in_another_order_is_turned_across_formats(tmp_path: Path) -> None:
    """NRRD image, MetaImage label stored from the other end of x: compared in the world, as two NIfTI files are."""
    source = tmp_path / "source"
    source.mkdir()
    save_nrrd(source / "image.nrrd", image_zyx(0), **{"space origin": np.zeros(3)})
    flipped = label_zyx(5)[:, :, ::-1].copy()
    size = (label_zyx().shape[2] - 1) * 1.1
    save_meta_image(source / "label.mha", flipped, TransformMatrix="-1 0 0 0 1 0 0 0 1", Offset=f"{size} 0 0")
    write_table(source, [row("v1", image="image.nrrd", label="label.mha")])
    (volume,), report = _ingest(source, tmp_path / "raw")
    np.testing.assert_array_equal(read_stack(tmp_path / "raw" / volume["label"]), label_zyx(5))
    assert any("x reversed" in warning for warning in report["volumes"][0]["warnings"])


def test_a_label_in_another_place_is_refused_across_formats(tmp_path: Path) -> None:
    """NIfTI image, NRRD label five slices away."""
    source = tmp_path / "source"
    source.mkdir()
    save_nifti(source / "image.nii.gz", image_zyx(0), (1.1, 0.9, 5.0), "micron")
    save_nrrd(source / "label.nrrd", label_zyx(), **{"space origin": np.array([0, 0, 25.0]), "space": "RAS"})
    write_table(source, [row("v1", image="image.nii.gz", label="label.nrrd")])
    assert "another place than the image" in _refused(source, tmp_path / "raw").what


# --- channels ---


@pytest.mark.parametrize("version", [2, 3])
def test_a_level_of_a_pyramid_lands_alone(tmp_path: Path, version: int) -> None:
    """Of image and label that with the spacing nearest to the setting; no other level is fetched."""
    source = tmp_path / "source"
    source.mkdir()
    for kind, stack in (("image", image_zyx(0)), ("label", label_zyx())):
        fine = stack.repeat(2, axis=1).repeat(2, axis=2)
        save_zarr(source / f"{kind}.ome.zarr", [fine, stack, stack[:, ::2, ::2]], version=version)
        for level in ("0", "2"):
            (source / f"{kind}.ome.zarr" / level / "9.9.9").symlink_to("nowhere")  # would be refused
    (source / "dataset.csv").write_text("id,image,label\nv1,image.ome.zarr,label.ome.zarr\n")
    (volume,), report = _ingest(source, tmp_path / "raw", level_um=(5.0, 2.0, 2.0))
    np.testing.assert_array_equal(read_stack(tmp_path / "raw" / volume["image"]), image_zyx(0))
    np.testing.assert_array_equal(read_stack(tmp_path / "raw" / volume["label"]), label_zyx())
    assert [volume[f"spacing_{axis}_um"] for axis in "zyx"] == ["5.0", "1.8", "2.2"]
    assert any("its level 1 is read" in warning for warning in report["volumes"][0]["warnings"])


def _two_channels(folder: Path, **how: Any) -> Path:
    (folder / "source").mkdir(parents=True)
    stack = np.stack([image_zyx(0), image_zyx(1)], axis=1)
    save_tiff(folder / "source" / "a.ome.tif", stack, metadata={"axes": "ZCYX", "Channel": {"Name": ["DAPI", "CD31"]}})
    save_tiff(folder / "source" / "b.tif", label_zyx())
    write_table(folder / "source", [row("v1", image="a.ome.tif", label="b.tif")])
    return folder / "source"


_NOWHERE: dict[str, Any] = {"space": None, "space directions": None, "space origin": None, "space units": None}
_PLACELESS = {"TransformMatrix": None, "Offset": None, "CenterOfRotation": None}


def _placeless(folder: Path, kind: str, x_um: float) -> str:
    z, y, _ = SPACING_UM
    if kind == "label.nrrd":
        save_nrrd(folder / kind, label_zyx(), **_NOWHERE, spacings=[x_um, y, z], units=["um"] * 3)
    elif kind == "label.mha":
        save_meta_image(folder / kind, label_zyx(), ElementSpacing=f"{x_um} {y} {z}", **_PLACELESS)
    else:
        made: Any = nibabel.Nifti1Image(label_zyx().T, None)
        made.header["pixdim"][1:4] = (x_um, y, z)
        made.header.set_xyzt_units("micron")
        made.set_sform(None, 0)
        nibabel.save(made, folder / kind)
    return kind


@pytest.mark.parametrize("kind", ["label.nrrd", "label.mha", "label.nii.gz"])
def test_a_header_with_a_spacing_alone_says_nothing_of_the_place(tmp_path: Path, kind: str) -> None:
    """Neither refused next to an image that is elsewhere, nor turned by an image that is stored backwards. Another
    spacing is said.
    """
    z, y, x = SPACING_UM
    ends = {"space origin": (np.array(label_zyx().T.shape) - 1) * (x, y, z), "space": "RAS"}
    for number, (place, x_um) in enumerate(
        (({"space origin": np.array([100, -200, 300])}, x), (ends | {"space directions": -np.diag([x, y, z])}, 2 * x))
    ):
        source = tmp_path / f"source{number}"
        source.mkdir()
        save_nrrd(source / "image.nrrd", image_zyx(0), **place)
        write_table(source, [row("v1", image="image.nrrd", label=_placeless(source, kind, x_um))])
        (volume,) = _check(source, tmp_path / f"raw{number}")["volumes"]
        said = [warning for warning in volume["warnings"] if "the label's header says 5 × 0.9 × 2.2 µm" in warning]
        assert len(said) == number


@pytest.mark.parametrize(("channel", "seed"), [(0, 0), (1, 1), ("CD31", 1), ("dapi", 0)])
def test_the_chosen_channel_lands_alone(tmp_path: Path, channel: int | str, seed: int) -> None:
    """By its number or its name; the label has none to choose from."""
    (volume,), _ = _ingest(_two_channels(tmp_path), tmp_path / "raw", channel)
    np.testing.assert_array_equal(read_stack(tmp_path / "raw" / volume["image"]), image_zyx(seed))
    assert volume["image"] == "v1/image.tif"


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        (None, "it holds 2 channels (0: DAPI, 1: CD31); choose one of them with ingest.channel"),
        (2, "it has no channel 2; it has 2 channels (0: DAPI, 1: CD31)"),
        ("GFP", "it has no channel 'GFP'"),
    ],
)
def test_another_channel_is_refused_with_the_list(tmp_path: Path, channel: Any, says: str) -> None:
    """Of those that there are."""
    assert says in _refused(_two_channels(tmp_path), tmp_path / "raw", channel).what


@pytest.mark.parametrize("kind", ["label.ome.tif", "label.h5"])
def test_no_channel_of_a_label_can_be_chosen(tmp_path: Path, kind: str) -> None:
    """The reason does not name the setting as a remedy, which is for images."""
    source = _two_channels(tmp_path)
    labels = np.stack([label_zyx(), label_zyx()], axis=1)
    if kind == "label.h5":
        tags = json.dumps({"axes": [{"key": key} for key in "zcyx"]})
        with h5py.File(save_hdf5(source / kind, labels), "a") as opened:
            opened["volume"].attrs["axistags"] = tags
    else:
        save_tiff(source / kind, labels, metadata={"axes": "ZCYX"})
    write_table(source, [row("v1", image="a.ome.tif", label=kind)])
    refused = _refused(source, tmp_path / "raw", 1).what
    assert "it holds 2 channels (0, 1), a label has one (ingest.channel is for images)" in refused


def test_a_single_channel_is_number_0(tmp_path: Path) -> None:
    """It is copied as it is; another number is refused."""
    source = _source(tmp_path, "slices")
    save_tiff(source / "a.tif", image_zyx(0))
    write_table(source, [row("v1", image="a.tif", label="label/slices")])
    assert _ingest(source, tmp_path / "raw", 0)[0][0]["image"] == "v1/image.tif"
    assert "it has no channel 1" in _refused(source, tmp_path / "other", 1).what


# --- one slice ---


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_a_single_slice_is_a_volume(tmp_path: Path, axes: str) -> None:
    """Said as a warning; without a distance between slices it needs one from the table."""
    source = tmp_path / "source"
    source.mkdir()
    image, label = image_zyx(0)[1:2], label_zyx()[1:2]
    sizes = {"PhysicalSizeY": 0.5, "PhysicalSizeX": 0.5}
    for name, stack in (("a", image), ("b", label)):
        plane = stack[0] if axes == "YX" else stack
        save_tiff(source / f"{name}.ome.tif", plane, metadata={"axes": axes, **sizes})
    write_table(source, [row("v1", image="a.ome.tif", label="b.ome.tif")])
    (volume,), report = _ingest(source, tmp_path / "raw")
    assert (volume["shape_z"], report["volumes"][0]["warnings"][0]) == ("1", "the file holds a single slice")
    assert read_header(tmp_path / "raw" / volume["image"]).spacing.numbers_zyx is None


# --- what is not there ---


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("nowhere", "neither a file of a known format nor a folder with files in it"),
        ("empty/z*.tif", "no file is called z*.tif"),
        ("a.zarr", "neither a file of a known format nor a folder"),
        ("a.h5:/raw", "it does not exist in the source"),
        ("a.mhd", "its voxels are in 'gone.raw', which is missing"),
        ("b.mhd", "its voxels are in '../b.raw', which is outside its folder"),
        ("c.mhd", "its voxels are in '/etc/passwd', which is outside its folder"),
    ],
)
def test_what_is_missing_or_elsewhere_is_named(tmp_path: Path, image: str, says: str) -> None:
    """In the reason of the volume."""
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    save_tiff(source / "label.tif", label_zyx())
    save_meta_image(source / "a.mhd", image_zyx(0), data="gone.raw")
    (source / "gone.raw").unlink()
    save_meta_image(source / "b.mhd", image_zyx(0), data="../b.raw")
    (source / "c.mhd").write_text((source / "b.mhd").read_text().replace("../b.raw", "/etc/passwd"))
    write_table(source, [row("v1", image=image, label="label.tif")])
    assert says in _refused(source, tmp_path / "raw").what


def test_slices_are_named_where_one_is_wrong(tmp_path: Path) -> None:
    """In a set of slices the file's own name is the one that helps."""
    source = tmp_path / "source"
    save_slices(tmp_path / "source", image_zyx(0))
    tifffile.imwrite(source / "z002.tif", image_zyx(0)[0].astype(np.uint16))
    save_tiff(source / "label.tif", label_zyx())
    write_table(source, [row("v1", image="z*.tif", label="label.tif")])
    what = _refused(source, tmp_path / "raw").what
    assert "its slices differ: z002.tif (slice 3) is 24 × 20 of uint16, the first 24 × 20 of uint8" in what


@pytest.mark.parametrize(
    ("image", "label", "says"),
    [
        ((0, 0, 0), (0, 0, 0), ""),
        ((10, 3, 3), (10, 3.25, 3), ""),
        ((0, 0, 0), (10, 0, 0), "first voxel is at 10 × 0 × 0 µm, the image's at 0 × 0 × 0 µm (OME-Zarr translation)"),
        ((0, 0, 0), None, ""),
    ],
)
def test_a_label_of_ome_zarr_in_another_place_is_said(tmp_path: Path, image: Any, label: Any, says: str) -> None:
    """Shifted by slices; a place that one of the two does not give says nothing."""
    source = tmp_path / "source"
    for kind, stack, start in (("image", image_zyx(1), image), ("label", label_zyx(), label)):
        save_zarr(source / f"{kind}.zarr", [stack])
        attributes = json.loads((source / f"{kind}.zarr" / ".zattrs").read_text())
        steps = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        steps += [{"type": "translation", "translation": list(start)}] if start else []
        (source / f"{kind}.zarr" / ".zattrs").write_text(json.dumps(attributes))
    write_table(source, [{"id": "m1", "image": "image.zarr", "label": "label.zarr"}])
    (volume,) = _ingest(source, tmp_path / "raw")[1]["volumes"]
    found = [text for text in volume["warnings"] if "translation" in text]
    assert len(found) == bool(says)
    assert all(says in text for text in found)


@pytest.mark.parametrize(
    ("first", "step", "says"),
    [
        (3, 1, []),
        (8, 1, ["from 8 in steps of 1, the image's from 3 in steps of 1"]),
        (3, 2, ["from 3 in steps of 2, the image's from 3 in steps of 1"]),
    ],
)
def test_slices_of_a_label_with_other_numbers_are_said(tmp_path: Path, first: int, step: int, says: list[str]) -> None:
    """As many files as the image has, of another part of the stack or of every second slice."""
    source = tmp_path / "source"
    for kind, stack, start, by in (("image", image_zyx(1), 3, 1), ("label", label_zyx(), first, step)):
        (source / kind).mkdir(parents=True)
        for number, plane in enumerate(stack):
            save_tiff(source / kind / f"z{start + by * number:02}.tif", plane)
    write_table(source, [row("m1", image="image", label="label")])
    (volume,) = _ingest(source, tmp_path / "raw")[1]["volumes"]
    found = [text for text in volume["warnings"] if "the label's slices are numbered" in text]
    assert len(found) == len(says)
    assert all(text in warning for text, warning in zip(says, found, strict=True))


def test_a_name_in_another_form_of_unicode_is_found(tmp_path: Path) -> None:
    """macOS decomposes what a table composes."""
    source = tmp_path / "source"
    source.mkdir()
    save_tiff(source / unicodedata.normalize("NFD", "gehör.tif"), image_zyx(0))
    save_tiff(source / "label.tif", label_zyx())
    write_table(source, [row("v1", image=unicodedata.normalize("NFC", "gehör.tif"), label="label.tif")])
    assert len(_ingest(source, tmp_path / "raw")[0]) == 1
