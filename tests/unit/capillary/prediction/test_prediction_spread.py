"""Many stacks as jobs of a place: the parts, the processes that wait for them, and what is published."""

import csv
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from capillary.lifetimes.stop import Stop
from capillary.prediction import many
from capillary.prediction.ask import make_request
from capillary.prediction.run import run_prediction
from capillary.prediction.running import Runner
from capillary.prediction.spread import stacks
from capillary.prediction.spread.heads import Heads
from capillary.prediction.spread.parts import Part, cut
from capillary.prediction.spread.traces import shared_traces, traces_of
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.messages import print_messages
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from tests.unit.capillary.prediction.conftest import JOBS, FakeStage

OPTIONS: dict[str, Any] = {
    **dict.fromkeys(["suffix", "spacing_um", "blocks"]),
    **{"probability": False, "picture": False},
}


def ask(**changes: Any) -> PredictRequest:
    return make_request(["scans", "out"], Path.cwd(), **{**OPTIONS, **changes})


@pytest.fixture
def spread(root: Path, stage: FakeStage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace, with a place where two jobs run at a time."""
    monkeypatch.setattr(many, "choose_runner", lambda *_: Runner(executor=stage, jobs=JOBS))
    monkeypatch.setattr(stacks, "Heads", lambda *_: stage)
    return root


def predict(root: Path, **changes: Any) -> int:
    return run_prediction(ask(**changes), root, Stop())


def table(root: Path) -> dict[str, str]:
    with (root / "out" / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        return {Path(row["image"]).name: row["status"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize(
    ("items", "most", "jobs", "sizes"),
    [(6, 16, 2, [1] * 6), (20, 16, 2, [3] * 6 + [2]), (1000, 16, 8, [16] * 62 + [8]), (1, 16, 8, [1])],
)
def test_parts_are_small_enough_to_end_together(items: int, most: int, jobs: int, sizes: list[int]) -> None:
    """About four rounds of jobs, and never too much in one."""
    assert [len(part) for part in cut(range(items), most, jobs)] == sizes


def test_stacks_of_all_jobs_come_to_one_folder(
    spread: Path, stage: FakeStage, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on one machine: masks, one table, one record; what fails is named, and the exit code is 10."""
    stage.broken = ("b.tif",)
    assert predict(spread) == ExitCode.STACKS_FAILED
    assert sorted(file.stem for file in (spread / "out").glob("*.tif")) == ["a", "c", "d", "e", "f"]
    assert table(spread) == {f"{name}.tif": "failed" if name == "b" else "done" for name in "abcdef"}
    shown = capsys.readouterr()
    assert "1 of 6 stacks failed, the others are done" in shown.err
    assert "5 of 6 stacks are done, 1 failed" in shown.out
    assert not (spread / "out" / ".capillary-predict").exists()
    stage.broken = ()
    assert predict(spread, resume=True) == 0
    assert "6 of 6 stacks are done (5 of them before)" in capsys.readouterr().out
    assert set(table(spread).values()) == {"done"}


def test_a_job_that_fails_keeps_what_the_others_made(
    spread: Path, stage: FakeStage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is that of the command, which continues with --resume."""
    stage.codes = {"predict@out-3": 8}
    assert predict(spread) == 8
    assert sorted(table(spread)) == ["a.tif", "b.tif", "d.tif", "e.tif", "f.tif"]
    assert "--resume continues" in capsys.readouterr().out


def test_a_job_without_a_word_of_a_stack_is_a_defect(spread: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken for done in silence."""
    monkeypatch.setattr(FakeStage, "_stacks", lambda *_: 0)
    with pytest.raises(CapillaryError, match="without a result of each of its stacks"):
        predict(spread)


def test_a_part_is_known_by_all_that_decides_its_result(root: Path) -> None:
    """And by nothing that a repeated command has otherwise: so its job is found again."""

    def known(**changes: Any) -> dict[str, str]:
        request = ask(**changes)
        return traces_of(request, shared_traces(request, root))

    first = known()
    request = ask(resume=True, force=True)
    made = tuple(stack.model_copy(update={"made_as": "key"}) for stack in request.stacks)
    again = request.model_copy(update={"stacks": made})
    assert traces_of(again, shared_traces(again, root)) == first
    others = [known(threshold=0.3), known(picture=True), known(spacing_um="1,2,3")]
    os.utime(root / "scans" / "a.tif", (1, 1))
    others.append(known())
    (root / "models" / "dice_ce" / "fold_0.json").write_text("[]")
    others.append(known())
    assert len({str(each) for each in [first, *others]}) == 6


def part(root: Path, name: str) -> Part:
    stack = StackRequest(image=Path("a.tif"), mask=Path("m.tif"))
    return Part(
        root=root,
        address=f"predict@{name}",
        request=PredictRequest(stacks=(stack,)),
        traces={},
        target=root / "parts" / name,
    )


# the argument is parts/NAME.json; the results are a folder NAME next to it
SCRIPT = """
name=$(basename "$0" .json)
echo "here is $name"
case $name in bad) exit 8;; esac
mkdir "${0%.json}"
"""
SHELL = ("sh", "-c", SCRIPT)


def test_heads_run_parts_until_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One at a time here: what they print comes under their names; results that are there are taken as they are."""
    (tmp_path / "parts" / "kept").mkdir(parents=True)
    parts = [part(tmp_path, name) for name in ("kept", "good", "bad", "later")]
    codes = {each.address: code for each, code in Heads(1, tmp_path / "parts", SHELL).run(parts)}
    assert codes == {"predict@kept": 0, "predict@good": 0, "predict@bad": 8}
    shown = capsys.readouterr().out
    assert "predict@good: here is good" in shown
    assert "kept" not in shown
    shutil.rmtree(tmp_path / "parts")


def test_what_heads_print_is_shown_at_every_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were told the level themselves: with --quiet it is why a job failed."""
    print_messages("warning", "text")
    (tmp_path / "parts").mkdir()
    list(Heads(1, tmp_path / "parts", SHELL).run([part(tmp_path, "bad")]))
    assert capsys.readouterr().out == "predict@bad: here is bad\n"


def test_a_request_to_stop_reaches_every_head(tmp_path: Path) -> None:
    """With its own signal, which says what becomes of the jobs. No further part is started."""
    (tmp_path / "parts").mkdir()
    os.mkfifo(tmp_path / "ready")
    waiting = ("sh", "-c", 'trap "exit 99" TERM; echo > ready; while :; do sleep 0.05; done')
    heads = Heads(1, tmp_path / "parts", waiting)

    def ask_once_it_runs() -> None:
        (tmp_path / "ready").read_text()
        heads.ask(signal.SIGTERM)

    thread = threading.Thread(target=ask_once_it_runs)
    thread.start()
    codes = [code for _, code in heads.run([part(tmp_path, "one"), part(tmp_path, "two")])]
    thread.join()
    assert codes == [99]
