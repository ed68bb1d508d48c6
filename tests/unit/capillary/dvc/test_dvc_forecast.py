"""The forecast of a real DVC project, and its order and reasons on graphs made by hand."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx
import pytest
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo

from capillary.dvc import forecast as forecast_module
from capillary.dvc.forecast import StageForecast, _patient_status, _walk, _WithParams, forecast
from stages.common.errors import CapillaryError, ExitCode

PARAMS = {"a": {"times": 1}, "b": {"times": 1}}
DVC_YAML = """
stages:
  first: {cmd: cp in.txt first.txt, deps: [in.txt], params: [a.times], outs: [first.txt]}
  second: {cmd: cp first.txt second.txt, deps: [first.txt], params: [b.times], outs: [second.txt]}
  alone: {cmd: cp in.txt alone.txt, deps: [in.txt], outs: [alone.txt]}
"""
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC's own
UNCHANGED = "nothing changed since its last run"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project whose stages `first` and `second` have run."""
    root = tmp_path_factory.mktemp("forecast")
    (root / "in.txt").write_text("1")
    (root / "params.yaml").write_text("a: {times: 1}\nb: {times: 1}\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    with contextlib.chdir(root):
        Repo.init(no_scm=True).reproduce("second")
    return root


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That project as the current folder: DVC names its stages as seen from there."""
    monkeypatch.chdir(made)
    return made


def runs(found: list[StageForecast]) -> dict[str, bool]:
    return {stage.address: stage.runs for stage in found}


def reasons(found: list[StageForecast]) -> dict[str, str]:
    return {stage.address: stage.why for stage in found}


def test_a_stage_of_which_nothing_changed_is_skipped(project: Path) -> None:
    """Stages that have run with these very params; one that never has runs."""
    found = forecast(project, PARAMS)
    assert runs(found) == {"first": False, "second": False, "alone": True}
    assert reasons(found) == {"first": UNCHANGED, "second": UNCHANGED, "alone": "has not run yet"}


def test_other_params_are_forecast_without_a_change_to_the_workspace(project: Path) -> None:
    """The key is the reason, and what depends on the stage follows. The root may be a relative path."""
    before = {file: file.read_bytes() for file in project.iterdir() if file.is_file()}
    found = reasons(forecast(Path(), {**PARAMS, "a": {"times": 2}}))
    assert found == {"first": "changed deps: a.times", "second": "follows first", "alone": "has not run yet"}
    only_second = runs(forecast(project, {**PARAMS, "b": {"times": 2}}))
    assert only_second == {"first": False, "second": True, "alone": True}
    assert {file: file.read_bytes() for file in project.iterdir() if file.is_file()} == before


def test_a_project_that_dvc_cannot_read_is_a_usage_error(tmp_path: Path) -> None:
    """DVC's words, the file and the command that shows more."""
    with pytest.raises(CapillaryError, match="DVC cannot read this project") as caught:
        forecast(tmp_path, PARAMS)
    assert caught.value.code == ExitCode.USAGE
    assert caught.value.file == tmp_path / "dvc.yaml"
    assert "dvc status" in caught.value.remedy


def test_one_file_reads_as_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text and as bytes, by its relative and its absolute name; every other file is the disk's."""
    for name in ("params.yaml", "other.yaml"):
        (tmp_path / name).write_text("disk")
    monkeypatch.chdir(tmp_path)
    fs = _WithParams(tmp_path / "params.yaml", "µ: 1")
    for name in ("params.yaml", str(tmp_path / "params.yaml")):
        with fs.open(name) as stream:
            assert stream.read() == "µ: 1"
        with fs.open(name, mode="rb") as stream:
            assert stream.read() == "µ: 1".encode()
    with fs.open(str(tmp_path / "other.yaml"), mode="rb") as stream:
        assert stream.read() == b"disk"


class BusyRepo:
    """A repository whose paths stay busy for `times` questions."""

    def __init__(self, times: int) -> None:
        self.times = times

    def status(self) -> dict[str, list[Any]]:
        self.times -= 1
        if self.times >= 0:
            raise LockError("busy")
        return {"first": ["always changed"]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only sleeping moves on."""
    found = SimpleNamespace(now=100.0)

    def sleep(seconds: float) -> None:
        found.now += seconds

    monkeypatch.setattr(forecast_module, "time", SimpleNamespace(monotonic=lambda: found.now, sleep=sleep))
    return found


def test_a_busy_path_is_waited_for(clock: SimpleNamespace) -> None:
    """A second between two questions, for a minute."""
    assert _patient_status(BusyRepo(60)) == {"first": ["always changed"]}
    assert clock.now == 160


def test_who_stays_busy_is_an_error_at_last(clock: SimpleNamespace) -> None:
    """DVC's own, once the minute is over."""
    with pytest.raises(LockError):
        _patient_status(BusyRepo(10**6))
    assert clock.now == 161
    assert issubclass(LockError, DvcException)  # so forecast turns it into words


@dataclass(frozen=True, eq=False)
class Stage:
    """As much of a DVC stage as a forecast reads; `out` says whether dvc.lock knows its out."""

    addressing: str
    out: bool = True

    @property
    def outs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(hash_info=None), SimpleNamespace(hash_info="abc" if self.out else None)]


def walked(edges: Mapping[str, str], status: Mapping[str, list[Any]], never_ran: str = "") -> list[StageForecast]:
    """The forecast of a graph: stage → what it depends on, one letter each."""
    stages = {name: Stage(name, out=name not in never_ran) for name in edges}
    graph = networkx.DiGraph()
    graph.add_nodes_from(stages.values())
    graph.add_edges_from((stages[name], stages[before]) for name, needs in edges.items() for before in needs)
    return list(_walk(graph, status))


@pytest.mark.parametrize(
    ("edges", "order"),
    [
        ({"c": "", "a": "", "b": ""}, "cab"),
        ({"e": "tu", "t": "p", "u": "p", "p": ""}, "ptue"),
        ({"a": "", "d": "bc", "c": "b", "b": ""}, "abcd"),
    ],
    ids=["as in dvc.yaml", "diamond", "chain"],
)
def test_stages_come_after_what_they_depend_on(edges: dict[str, str], order: str) -> None:
    """Each once; otherwise in the order of dvc.yaml."""
    assert "".join(stage.address for stage in walked(edges, {})) == order


def test_a_stage_follows_those_that_run_right_before_it() -> None:
    """Stages further up are named where they matter; a stage that is skipped pulls none along."""
    found = walked({"a": "", "x": "", "b": "ax", "c": "b", "y": "x"}, {"a": ["changed command"]})
    assert reasons(found) == {
        "a": "changed command",
        "x": UNCHANGED,
        "b": "follows a",
        "c": "follows b",
        "y": UNCHANGED,
    }
    assert [stage.address for stage in found if stage.runs] == ["a", "b", "c"]


def test_every_reason_is_told() -> None:
    """Changed commands, files with what became of them, keys by their names, and what runs before."""
    changes = [
        "always changed",
        {"changed deps": {"in.txt": "modified", "params.yaml": {"a.times": "modified", "a.kind": "new"}}},
        {"changed outs": {"out": "deleted"}},
    ]
    found = walked({"a": "", "b": "a"}, {"a": ["changed command"], "b": changes})
    assert found[1].why == (
        "always changed; changed deps: in.txt (modified), a.times, a.kind; changed outs: out (deleted); follows a"
    )


def test_what_never_ran_says_so_and_no_more() -> None:
    """Everything about it is new: a list of it would help nobody."""
    changes = [{"changed deps": {"in.txt": "modified"}}, {"changed outs": {"out": "deleted"}}]
    assert walked({"a": ""}, {"a": changes}, never_ran="a")[0].why == "has not run yet"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [("abcd", "changed deps: a, b, c, d"), ("abcde", "changed deps: a, b, c, d and 1 more"), ("abcdef", "and 2 more")],
)
def test_a_long_list_is_cut(keys: str, expected: str) -> None:
    """Four names, and how many more there are."""
    status = {"a": [{"changed deps": {"params.yaml": dict.fromkeys(keys, "modified")}}]}
    assert walked({"a": ""}, status)[0].why.endswith(expected)
