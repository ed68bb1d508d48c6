"""One stack by blocks on the host: which runs of the stage there are, what is kept, and what is published."""

import os
from pathlib import Path
from typing import Any

import pytest

from capillary.lifetimes.stop import Stop
from capillary.prediction.ask import make_request
from capillary.prediction.blocks import run, steps
from capillary.prediction.blocks.kept import kept_folder, read_results
from capillary.prediction.names import parse_blocks
from capillary.prediction.run import run_prediction
from capillary.prediction.running import Runner
from stages.common.errors import CapillaryError, DamagedError, ExitCode
from stages.common.requests.prediction.records import BLOCKS_FILE
from stages.common.requests.prediction.request import PredictRequest
from tests.unit.capillary.prediction.conftest import JOBS, FakeStage

BLOCKS = "16,256,256"  # nine of them
HIDDEN = ".seg.ome.zarr.blocks"
OPTIONS: dict[str, Any] = {"suffix": None, "spacing_um": None, "probability": False, "picture": False}


def ask(**changes: Any) -> PredictRequest:
    return make_request(["big.ome.zarr", "out/seg.ome.zarr"], Path.cwd(), **{**OPTIONS, "blocks": BLOCKS, **changes})


@pytest.fixture(params=["here", "jobs"])
def place(request: pytest.FixtureRequest, root: Path, stage: FakeStage, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the stage runs: on this machine, or in jobs of a place."""
    runner = Runner(executor=stage, jobs=JOBS if request.param == "jobs" else None)
    monkeypatch.setattr(run, "choose_runner", lambda *_: runner)
    monkeypatch.setattr(steps, "Heads", lambda *_: stage)
    return str(request.param)


def predict(root: Path, **changes: Any) -> int:
    return run_prediction(ask(**changes), root, Stop())


def numbers(stage: FakeStage) -> list[tuple[int, ...]]:
    """The blocks that each run of the stage was asked for."""
    asked = [request.blocks for request in stage.asked]
    return [work.numbers for work in asked if work is not None and work.step == "predict"]


def written(folder: Path) -> dict[str, str]:
    """Chunk → who wrote it."""
    chunks = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return {file.relative_to(folder).as_posix(): file.read_text() for file in chunks}


@pytest.mark.usefixtures("place")
def test_all_blocks_come_together(root: Path, stage: FakeStage, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each chunk is written by the block that holds it; nothing else stays; the voxels of vessel are added up."""
    assert predict(root, probability=True, picture=True) == 0
    assert sorted(file.name for file in (root / "out").iterdir()) == [
        "seg.ome.zarr",
        "seg.png",
        "seg_probability.ome.zarr",
    ]
    for name in ("seg.ome.zarr", "seg_probability.ome.zarr"):
        chunks = written(root / "out" / name)
        assert len(chunks) == 3 * 2 * 3
        assert (chunks["0/0/0/0"], chunks["0/2/1/2"]) == ("block 0", "block 17")
        assert (root / "out" / name / ".zattrs").is_file()
    assert "180 of 7,200,000 voxels are vessel" in capsys.readouterr().out
    asked = numbers(stage)
    assert sorted(number for each in asked for number in each) == list(range(18))
    assert len(asked) == (1 if place == "here" else 6)


@pytest.mark.usefixtures("place")
def test_a_run_that_ends_early_is_continued(root: Path, stage: FakeStage, place: str) -> None:
    """The same command asks for the blocks that are missing; nothing is published before, nothing measured again."""
    stage.blocks = 5
    stage.codes = {"predict@seg.ome.zarr-3": 143}
    assert predict(root) == 143
    assert not (root / "out" / "seg.ome.zarr").exists()
    assert (root / "out" / HIDDEN).is_dir()
    stage.blocks, stage.codes = 10**6, {}
    before = len(numbers(stage))
    assert predict(root) == 0
    assert numbers(stage)[before:] == [tuple(range(5, 18)) if place == "here" else (6, 7, 8)]
    assert len(written(root / "out" / "seg.ome.zarr")) == 18
    assert [request.blocks.step for request in stage.asked if request.blocks].count("survey") == 1
    assert not (root / "out" / HIDDEN).exists()


@pytest.mark.parametrize("place", ["here"], indirect=True)
@pytest.mark.usefixtures("place")
def test_what_was_made_from_something_else_is_dropped(root: Path, stage: FakeStage) -> None:
    """Another stack begins anew; so does another size of blocks."""
    stage.blocks = 5
    assert predict(root) == 143
    (root / "big.ome.zarr" / "0").write_text("more")
    assert predict(root) == 143
    assert numbers(stage)[1] == tuple(range(18))
    assert predict(root, blocks="32,256,256") == 143
    assert numbers(stage)[2] == tuple(range(12))


@pytest.mark.parametrize("place", ["here"], indirect=True)
@pytest.mark.usefixtures("place")
def test_small_parts_are_removed_at_the_end(root: Path, stage: FakeStage) -> None:
    """The mask that is published is the one of the last step."""
    assert predict(root, min_component_um3=5.0) == 0
    assert (root / "out" / "seg.ome.zarr").read_text() == "joined"
    last = stage.asked[-1].blocks
    assert last is not None
    assert (last.step, last.cleans) == ("join", True)


@pytest.mark.parametrize("place", ["jobs"], indirect=True)
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("stray", ["0/2/1/2", "other"])
def test_a_job_that_leaves_other_files_is_refused(root: Path, stage: FakeStage, stray: str) -> None:
    """What comes from a node is untrusted: no chunk of another block is taken."""
    stage.strays = (stray,)
    with pytest.raises(CapillaryError, match="not a chunk of its blocks") as raised:
        predict(root)
    assert raised.value.code is ExitCode.UNEXPECTED
    assert not (root / "out" / "seg.ome.zarr").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("survey.json", "{}"),
        ("work/blocks.jsonl", '{"number": 99, "vessel_voxels": 1}\n'),
    ],
)
@pytest.mark.parametrize("place", ["here"], indirect=True)
@pytest.mark.usefixtures("place")
def test_a_damaged_folder_is_named(root: Path, stage: FakeStage, name: str, content: str) -> None:
    """With what to remove. A line that a killed run left half is no damage."""
    stage.blocks = 2
    assert predict(root) == 143
    file = root / "out" / HIDDEN / name
    former = file.read_bytes()
    file.write_text(content)
    with pytest.raises(DamagedError, match="cannot be read"):
        predict(root)
    file.write_bytes(former + b'{"number": 2, "ves' if name.endswith("jsonl") else former)
    assert predict(root) == 143
    assert numbers(stage)[-1] == tuple(range(2, 18))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_the_record_of_blocks_may_be_nothing_but_a_file(tmp_path: Path, kind: str) -> None:
    """A stage may write there: a file of the user's that ends without a line break would lose its last line."""
    mine, file = tmp_path / "mine", tmp_path / BLOCKS_FILE
    mine.write_text("one line\nand half of another")
    if kind == "link":
        file.symlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(DamagedError, match="cannot be read"):
        read_results(file)
    assert mine.read_text() == "one line\nand half of another"


def test_one_command_at_a_time_works_on_a_mask(root: Path) -> None:
    """The second one is refused."""
    with (
        kept_folder(root / "seg.ome.zarr"),
        pytest.raises(CapillaryError, match="another capillary predict"),
        kept_folder(root / "seg.ome.zarr"),
    ):
        pass


@pytest.mark.parametrize("text", ["", "1,2", "0,1,1", "a,b,c", "1,2,-3", "1,2,3,4", "1.5,2,3", "99999999999,1,1"])
def test_a_size_of_blocks_that_cannot_be(text: str) -> None:
    """Exit code 2."""
    with pytest.raises(CapillaryError, match="--blocks is not a size") as raised:
        parse_blocks(text)
    assert raised.value.code == ExitCode.USAGE


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("words", [["scans", "out"], ["big.ome.zarr", "seg.tif"], ["big.ome.zarr", "out/"]])
def test_blocks_are_for_one_stack_and_a_store(words: list[str]) -> None:
    """A TIFF cannot be written in parts; many stacks are spread as they are."""
    with pytest.raises(CapillaryError, match="--blocks is for one stack"):
        make_request(words, Path.cwd(), **OPTIONS, blocks="auto")
