"""Many stacks in one run of the stage: each is told of, and one that fails does not stop the others."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.stacks import read_stack
from stages.common.monitoring.memory_guard import Crossing, MemoryGuard
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.requests.prediction.results import RESULTS_FILE, StackResult
from stages.predict import steps
from stages.predict.batch import batch as batch_module
from stages.predict.batch.batch import Batch
from stages.predict.batch.keys import method_key, stack_key
from stages.predict.batch.showing import duration
from stages.predict.disk import sharing
from stages.predict.disk.scratch import Scratch
from stages.predict.disk.sharing import SharedRoom
from stages.predict.models.ensemble import Ensemble
from stages.predict.params import Evaluation
from stages.predict.steps import Method
from tests.support.models.networks import brightness_network
from tests.support.models.prepared import prepared
from tests.support.models.recipe import RECIPE
from tests.support.tracking.cards import CARD

EVALUATION = Evaluation(overlap=0.5, threshold=0.5, test_time_flips="none", backend="auto", min_component_um3=None)
COUNT = 5


def make_method(guard: MemoryGuard | None = None) -> Method:
    ensemble = Ensemble(
        networks=(prepared(brightness_network()),), device=torch.device("cpu"), patch_voxels=(4, 16, 16), recipe=RECIPE
    )
    return Method(ensemble=ensemble, evaluation=EVALUATION, batch_size=2, guard=guard or MemoryGuard())


@pytest.fixture
def request_of_five(tmp_path: Path) -> PredictRequest:
    """Five tiny stacks without a spacing of their own."""
    (tmp_path / "work").mkdir()
    stacks = []
    for number in range(COUNT):
        file = tmp_path / f"{number}.tif"
        tifffile.imwrite(file, np.random.default_rng(number).random((5, 20, 18), dtype=np.float32))
        mask = tmp_path / "work" / f"{number:05}" / f"{number}.tif"
        stacks.append(StackRequest(image=file, mask=mask, spacing_um=(5.0, 0.5, 0.5)))
    return PredictRequest(stacks=tuple(stacks), folder=tmp_path / "work")


def run(request: PredictRequest, method: Method | None = None) -> list[StackResult]:
    """What the stage says, in the order of the stacks."""
    assert request.folder is not None
    batch = Batch(request, method or make_method(), "method")
    try:
        batch.run()
    finally:
        lines = (request.folder / RESULTS_FILE).read_bytes().splitlines()
        results = [StackResult.model_validate_json(line) for line in lines]
    assert batch.failed == sum(result.status == "failed" for result in results)
    return results


def with_stack(request: PredictRequest, number: int, **changes: Any) -> PredictRequest:
    stacks = list(request.stacks)
    stacks[number] = stacks[number].model_copy(update=changes)
    return request.model_copy(update={"stacks": tuple(stacks)})


def test_every_stack_is_told_of_and_leaves_its_files_alone(request_of_five: PredictRequest) -> None:
    """Masks are those of the network; nothing else stays in their folders."""
    results = run(request_of_five)
    assert [(result.number, result.status, result.shape_zyx) for result in results] == [
        (number, "done", (5, 20, 18)) for number in range(COUNT)
    ]
    assert len({result.key for result in results}) == COUNT
    for stack, result in zip(request_of_five.stacks, results, strict=True):
        mask = read_stack(stack.mask)
        assert result.vessel_share == np.count_nonzero(mask) / mask.size
        assert [file.name for file in stack.mask.parent.iterdir()] == [stack.mask.name]


def test_a_stack_that_fails_does_not_stop_the_others(request_of_five: PredictRequest) -> None:
    """Cut, without a spacing, with NaN: each is named with its reason; the last one, too."""
    stacks = request_of_five.stacks
    stacks[0].image.write_bytes(stacks[0].image.read_bytes()[:800])
    request = with_stack(request_of_five, 2, spacing_um=None)
    broken = np.zeros((4, 20, 20), np.float32)
    broken[1, 2, 2] = np.nan
    tifffile.imwrite(stacks[4].image, broken)
    results = run(request)
    assert [result.status for result in results] == ["failed", "done", "failed", "done", "failed"]
    assert "damaged or cut" in results[0].words[-1]
    assert "--spacing-um" in results[2].words[-1]
    assert "slice 2" in results[4].words[-1]


def test_stacks_of_every_form_are_predicted(request_of_five: PredictRequest, tmp_path: Path) -> None:
    """An array at a place in an HDF5 file, slices by a pattern, a header whose voxels are in another file."""
    voxels = np.random.default_rng(7).integers(0, 255, (5, 20, 18)).astype(np.uint8)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["raw"] = voxels
    for z, plane in enumerate(voxels):
        tifffile.imwrite(tmp_path / f"z{z}.tif", plane)
    _detached(tmp_path, voxels)
    request = request_of_five
    for number, name in enumerate(("s.h5:/raw", "z{z}.tif", "z*.tif", "s.mhd", "gone.h5:/raw")):
        request = with_stack(request, number, image=tmp_path / name)
    results = run(request)
    assert [result.status for result in results] == ["done", "done", "done", "done", "failed"]
    assert "does not exist" in results[4].words[-1]


def test_voxels_next_to_a_header_count_in_its_key(tmp_path: Path) -> None:
    """Under --resume a stack whose voxels changed is predicted again."""
    voxels = np.random.default_rng(7).integers(0, 255, (5, 20, 18)).astype(np.uint8)
    stack = StackRequest(image=_detached(tmp_path, voxels), mask=Path("s.tif"))
    former = stack_key(stack, "method")
    assert stack_key(stack, "method") == former
    (tmp_path / "s.raw").write_bytes(voxels[::-1].tobytes())
    assert stack_key(stack, "method") != former


def _detached(folder: Path, voxels: np.ndarray[Any, Any]) -> Path:
    z, y, x = voxels.shape
    (folder / "s.raw").write_bytes(voxels.tobytes())
    head = f"NDims = 3\nDimSize = {x} {y} {z}\nElementType = MET_UCHAR\nElementDataFile = s.raw\n"
    (folder / "s.mhd").write_text(head)
    return folder / "s.mhd"


def test_a_stack_that_is_done_is_not_read_again(request_of_five: PredictRequest) -> None:
    """Its key says so; another key means another input, model or setting."""
    keys = [result.key for result in run(request_of_five)]
    assert request_of_five.folder is not None
    again = request_of_five.folder.parent / "again"
    again.mkdir()
    stacks = tuple(
        stack.model_copy(update={"mask": again / f"{number:05}" / "m.tif", "made_as": keys[number]})
        for number, stack in enumerate(request_of_five.stacks)
    )
    request = request_of_five.model_copy(update={"stacks": stacks, "folder": again})
    request = with_stack(request, 1, spacing_um=(5.0, 0.5, 0.6))
    tifffile.imwrite(stacks[3].image, np.random.default_rng(9).random((5, 20, 18), dtype=np.float32))
    assert [result.status for result in run(request)] == ["unchanged", "done", "unchanged", "done", "unchanged"]


def test_the_key_covers_the_networks_and_the_params() -> None:
    """Everything that decides a mask changes it."""
    keys = {
        method_key([CARD], EVALUATION),
        method_key([CARD, CARD], EVALUATION),
        method_key([CARD], EVALUATION.model_copy(update={"threshold": 0.4})),
    }
    assert len(keys) == 3
    assert method_key([CARD], EVALUATION) in keys


def test_the_next_stack_is_read_and_the_last_one_written_while_one_is_computed(
    request_of_five: PredictRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computing 1 waits for the start of reading 2 and of writing 0; no more than that is begun."""
    begun = {name: [threading.Event() for _ in range(COUNT)] for name in ("prepare", "write")}

    def announcing(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def announced(stack: StackRequest, *arguments: Any) -> Any:
            begun[name][int(stack.image.stem)].set()
            return step(stack, *arguments)

        return announced

    real = steps.compute

    def compute(prepared: Any, place: Any, *arguments: Any) -> Any:
        number = int(place.source.stem)
        assert begun["prepare"][min(number + 1, COUNT - 1)].wait(60)
        assert number == 0 or begun["write"][number - 1].wait(60)
        assert number + 2 >= COUNT or not begun["prepare"][number + 2].is_set()
        return real(prepared, place, *arguments)

    monkeypatch.setattr(batch_module, "prepare", announcing("prepare", steps.prepare))
    monkeypatch.setattr(batch_module, "write", announcing("write", steps.write))
    monkeypatch.setattr(batch_module, "compute", compute)
    assert [result.status for result in run(request_of_five)] == ["done"] * COUNT


def test_what_would_meet_every_stack_ends_the_run(request_of_five: PredictRequest) -> None:
    """A crossed limit of memory has its own exit code, and no stack is blamed for it."""
    guard = MemoryGuard()
    guard.crossing = Crossing(limit_gb=1, measured_gb=2)
    with pytest.raises(CapillaryError) as raised:
        run(request_of_five, make_method(guard))
    assert raised.value.code is ExitCode.MEMORY
    assert request_of_five.folder is not None
    assert (request_of_five.folder / RESULTS_FILE).read_bytes() == b""


def test_ctrl_c_lets_the_writer_end(request_of_five: PredictRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stack 0 was computed before; it is whole and told of. What is read ahead is dropped."""
    real = steps.compute

    def compute(prepared: Any, place: Any, *arguments: Any) -> Any:
        if place.source.stem == "1":
            raise KeyboardInterrupt
        return real(prepared, place, *arguments)

    monkeypatch.setattr(batch_module, "compute", compute)
    with pytest.raises(KeyboardInterrupt):
        run(request_of_five)
    assert request_of_five.folder is not None
    (line,) = (request_of_five.folder / RESULTS_FILE).read_bytes().splitlines()
    assert StackResult.model_validate_json(line).number == 0
    assert request_of_five.stacks[0].mask.exists()


def test_stacks_share_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others may still write counts; a stack waits for them, and is refused only when it is alone."""
    for name in "abc":
        (tmp_path / name).mkdir()
    monkeypatch.setattr("stages.predict.disk.sharing.shutil.disk_usage", lambda _folder: SimpleNamespace(free=100_000))
    room, entered = SharedRoom(), threading.Event()
    scratches = {name: Scratch(tmp_path / name / "m.tif") for name in "abc"}
    room.enter(tmp_path / "a", scratches["a"], 60_000, 1)

    def wait() -> None:
        room.enter(tmp_path / "b", scratches["b"], 50_000, 1)
        entered.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert not entered.is_set()
    room.leave(tmp_path / "a")
    assert entered.wait(60)
    room.leave(tmp_path / "b")
    with pytest.raises(CapillaryError, match="too little free space"):
        room.enter(tmp_path / "c", scratches["c"], 100_001, 1)


def test_a_stack_that_may_fill_the_memory_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose voxels take more than a quarter of what is left does not fit beside another."""
    monkeypatch.setattr(sharing, "memory_room", lambda: SimpleNamespace(bytes=1000))
    room = SharedRoom()
    assert room._fits(tmp_path, 1, 250)
    assert not room._fits(tmp_path, 1, 251)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    """In the largest unit that tells something."""
    assert duration(seconds) == text


def test_a_defect_is_not_taken_for_a_stacks_fault(
    request_of_five: PredictRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the run with its traceback."""

    def prepare(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(batch_module, "prepare", prepare)
    with pytest.raises(ZeroDivisionError):
        run(request_of_five)


def test_nan_of_a_network_is_that_stacks_fault(
    request_of_five: PredictRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next stack may be fine."""

    def compute(*_: Any) -> Any:
        raise DataError("NaN", remedy="r")

    monkeypatch.setattr(batch_module, "compute", compute)
    assert {result.status for result in run(request_of_five)} == {"failed"}
