"""One stack by blocks: the stage's three steps leave what one run leaves that predicts the stack whole."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.spacing import spacing_of
from stages.common.machine.memory import Room
from stages.common.registered.finding import FoundNetwork
from stages.common.requests.prediction import grid
from stages.common.requests.prediction.records import BLOCKS_FILE, SURVEY_FILE, BlockResult, BlockSurvey
from stages.common.requests.prediction.request import BlockWork, PredictRequest, StackRequest
from stages.predict import opening
from stages.predict.blocks import predicting, surveying
from stages.predict.disk.scratch import Scratch
from stages.predict.disk.stored import StoredVolume
from stages.predict.params import Evaluation
from stages.predict.predict import predict
from tests.support.models.networks import card_of, linear_network, package_of
from tests.support.models.recipe import RECIPE
from tests.support.stacks.any_form import read_header, read_stack
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.common.imaging.foreign.written import SPACING_UM, save_zarr

SHAPE = (7, 30, 45)
WHOLE = Path("whole", "seg.ome.zarr")
FILES = ("seg.ome.zarr", "seg_probability.ome.zarr")
PERCENTILE = dataclasses.replace(RECIPE, normalisation="percentile")


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few voxels, an empty folder to work in, and a network without a registry."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid, "CHUNK_ZYX", (4, 16, 16))
    use(monkeypatch, PERCENTILE)


@functools.cache
def found_with(recipe: Recipe) -> FoundNetwork:
    torch.manual_seed(1)
    network = linear_network(0.6 * torch.rand(3, 3, 3), -1.4)
    package = package_of(network, recipe=recipe)
    card = card_of(network, recipe=recipe, files=package.files)
    return FoundNetwork(
        card=card, name="net", version="1", place="here", fetch=lambda name, _most: package.contents[name]
    )


def use(monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> None:
    found = found_with(recipe)
    for module in (opening, surveying):
        monkeypatch.setattr(module, "find_asked", lambda *_: [found])


def evaluation(least_um3: float | None = None) -> Evaluation:
    return Evaluation(overlap=0.25, threshold=0.5, test_time_flips="none", backend="auto", min_component_um3=least_um3)


def save_stack(**how: Any) -> Path:
    """Bright specks on a dark ground, with the constant frame of a motion correction."""
    stack = np.random.default_rng(0).gamma(0.4, 300, SHAPE).clip(0, 4000).astype(np.uint16)
    stack[:, :3], stack[-1] = 0, 7
    return save_zarr(Path("stack.ome.zarr"), [stack], **how)


def step(image: Path, folder: Path, work: BlockWork, least_um3: float | None = None, **files: Any) -> None:
    """One run of the stage, whose files go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = StackRequest(image=image, mask=folder / FILES[0], **files)
    asked = PredictRequest(stacks=(stack,), folder=None if work.step == "join" else folder, blocks=work)
    predict(asked, evaluation(least_um3), embedded_runtime(Path("state"), stage="predict"))


def survey(
    image: Path, wanted: tuple[int, int, int] | None = (4, 16, 32), least_um3: float | None = None
) -> BlockSurvey:
    step(image, Path("surveyed"), BlockWork(step="survey", wanted_zyx=wanted), least_um3)
    Path(SURVEY_FILE).write_bytes(Path("surveyed", SURVEY_FILE).read_bytes())
    return BlockSurvey.model_validate_json(Path(SURVEY_FILE).read_bytes())


def predict_some(image: Path, numbers: tuple[int, ...], least_um3: float | None = None) -> None:
    work = BlockWork(step="predict", numbers=numbers)
    step(image, Path("assembled"), work, least_um3, probability=Path("assembled", FILES[1]))


def predict_whole(image: Path, least_um3: float | None = None) -> None:
    WHOLE.parent.mkdir()
    picture = WHOLE.with_name("seg.png")
    stack = StackRequest(image=image, mask=WHOLE, probability=WHOLE.with_name(FILES[1]), picture=picture)
    predict(PredictRequest(stacks=(stack,)), evaluation(least_um3), embedded_runtime(Path("state"), stage="predict"))


def test_blocks_equal_the_whole_to_the_last_bit() -> None:
    """In any order and in several runs; small parts and the picture are those of the whole mask."""
    image = save_stack(chunks=(8, 20, 20))
    predict_whole(image, 20.0)
    found = survey(image, least_um3=20.0)
    assert (found.shape_zyx, found.spacing_um, found.block_zyx) == (SHAPE, SPACING_UM, (4, 16, 32))
    numbers = tuple(range(found.grid.count))
    assert len(numbers) == 8
    predict_some(image, numbers[::2], 20.0)
    predict_some(image, numbers[1::2], 20.0)
    np.testing.assert_array_equal(read_stack(Path("assembled", FILES[1])), read_stack(WHOLE.with_name(FILES[1])))
    lines = Path("assembled", BLOCKS_FILE).read_bytes().splitlines()
    results = [BlockResult.model_validate_json(line) for line in lines]
    assert [result.number for result in results] == [*numbers[::2], *numbers[1::2]]
    assert sum(result.vessel_voxels for result in results) == np.count_nonzero(read_stack(Path("assembled", FILES[0])))
    step(image, Path("joined"), BlockWork(step="join", cleans=True), 20.0, picture=Path("joined", "seg.png"))
    mask = read_stack(Path("joined", FILES[0]))
    np.testing.assert_array_equal(mask, read_stack(WHOLE))
    assert 0 < np.count_nonzero(mask) < np.count_nonzero(read_stack(Path("assembled", FILES[0])))
    assert spacing_of(read_header(Path("joined", FILES[0]))).spacing_um == SPACING_UM
    with Image.open("joined/seg.png") as own, Image.open("whole/seg.png") as other:
        np.testing.assert_array_equal(np.array(own), np.array(other))
    assert sorted(file.name for file in Path("joined").iterdir()) == ["seg.ome.zarr", "seg.png"]


def test_a_block_writes_its_own_chunks_alone() -> None:
    """A file of another block is as it was, to its time."""
    image = save_stack()
    survey(image)
    predict_some(image, (0, 1, 2, 4))

    def times() -> dict[str, int]:
        files = Path("assembled", FILES[1], "0").rglob("*")
        return {str(file): file.stat().st_mtime_ns for file in files if file.is_file()}

    before = times()
    predict_some(image, (1,))
    changed = {file for file, time in times().items() if time != before[file]}
    assert changed == {f"assembled/{FILES[1]}/0/0/0/2"}  # columns 32 to 44: one chunk


def test_a_block_reads_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So memory is bounded by the block, whatever the size of the stack; a block that is too large is refused."""
    image = save_stack()
    survey(image)
    read: list[int] = []
    real = StoredVolume.read_box

    def counting(volume: Any, box: tuple[slice, slice, slice]) -> Any:
        read.append(np.prod([part.stop - part.start for part in box]))
        return real(volume, box)

    monkeypatch.setattr(StoredVolume, "read_box", counting)
    predict_some(image, (0, 4))
    assert max(read) <= (4 + 2 * 4) * (16 + 2 * 16) * SHAPE[2]
    room = Room(bytes=1000, where="are left")
    monkeypatch.setattr(predicting, "memory_room", lambda: room)
    with pytest.raises(CapillaryError, match="4 × 16 × 32 voxels does not fit into memory") as raised:
        predict_some(image, (0,))
    assert "--blocks" in raised.value.remedy


def test_what_changed_since_the_survey_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other networks, and another stack under the same name."""
    image = save_stack()
    found = survey(image)
    Path(SURVEY_FILE).write_text(found.model_copy(update={"method": "other"}).model_dump_json())
    with pytest.raises(DataError, match="the networks changed"):
        predict_some(image, (0,))
    Path(SURVEY_FILE).write_text(found.model_copy(update={"shape_zyx": (7, 30, 44)}).model_dump_json())
    with pytest.raises(DataError, match="the stack changed"):
        predict_some(image, (0,))


def save_h5() -> Path:
    with h5py.File("stack.h5", "w") as file:
        file.create_dataset("a", data=read_stack(save_stack()).astype(">f4")).attrs["element_size_um"] = SPACING_UM
    return Path("stack.h5")


def save_tiff(**how: Any) -> Path:
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", SPACING_UM, strict=True)}
    tifffile.imwrite("stack.ome.tif", read_stack(save_stack()), metadata={"axes": "ZYX", **sizes}, **how)
    return Path("stack.ome.tif")


def save_nifti() -> Path:
    image: Any = nibabel.Nifti1Image(read_stack(save_stack()).T, np.diag([1, 1, 1, 1]))  # type: ignore[no-untyped-call]
    image.to_filename("stack.nii")
    return Path("stack.nii")


@pytest.mark.parametrize(
    "save",
    [save_h5, save_tiff, lambda: save_tiff(compression="zlib", byteorder=">", photometric="miniswhite")],
    ids=["hdf5", "tiff", "tiff_packed"],
)
def test_other_formats_are_read_in_parts_too(save: Callable[[], Path]) -> None:
    """Also without chunks, in the other order of bytes, and with white stored as 0."""
    image = save()
    whole = read_stack(image)
    found = survey(image)
    with Scratch(Path("mask")) as scratch, StoredVolume(image, None, scratch) as volume:
        np.testing.assert_array_equal(np.stack(list(volume)), whole)
        np.testing.assert_array_equal(volume.read_box((slice(3, 6), slice(5, 21), slice(7, 8))), whole[3:6, 5:21, 7:8])
    assert (found.shape_zyx, found.spacing_um) == (SHAPE, SPACING_UM)


def resampling(monkeypatch: pytest.MonkeyPatch) -> Path:
    use(monkeypatch, dataclasses.replace(PERCENTILE, resample_to_um=(1.0, 1.0, 1.0)))
    return save_stack()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: save_nifti(), "its format is not read in parts"),
        (resampling, "trained on voxels of another size"),
    ],
)
def test_what_is_not_predicted_by_blocks_is_refused(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[pytest.MonkeyPatch], Path], text: str
) -> None:
    """By name, with the way out, before anything is predicted."""
    image = make(monkeypatch)
    stack = StackRequest(image=image, mask=Path(FILES[0]), spacing_um=(5.0, 0.5, 0.5))
    request = PredictRequest(stacks=(stack,), blocks=BlockWork(step="survey"))
    with pytest.raises(CapillaryError, match=text) as raised:
        predict(request, evaluation(), embedded_runtime(Path("state"), stage="predict"))
    assert (raised.value.code, "leave --blocks out" in raised.value.remedy) == (ExitCode.USAGE, True)
    assert not Path(SURVEY_FILE).exists()


def test_nan_is_named_by_its_slice() -> None:
    """Where it is in the stack, not in the block."""
    stack = np.zeros(SHAPE, dtype=np.float32)
    stack[..., 5:], stack[5, 20, 20] = 1, np.nan
    image = save_zarr(Path("stack.ome.zarr"), [stack])
    with pytest.raises(DataError, match="NaN or infinite values in slice 6"):
        survey(image)
