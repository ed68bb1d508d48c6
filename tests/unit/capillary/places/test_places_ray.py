"""The place `ray` with a cluster that only answers: its config, its words, and what a head does with each answer."""

import contextlib
import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from capillary.lifetimes.stop import Stop
from capillary.places.job import job_folder
from capillary.places.outcome import STOP_FILE, Attempt, Ended, write_attempt, write_ended
from capillary.places.ray import execute
from capillary.places.ray.cluster import Loss, Lost, Task, bundles, lacking
from capillary.places.ray.config import RayConfig, RayProfile, read_config
from capillary.places.ray.execute import RayPlace, explain
from capillary.places.ray.head import Head
from capillary.places.ray.task import CUT_SHORT, ENDED, NO_FOLDER
from capillary.planning.plan import StagePlan
from capillary.settings import read_settings
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError, ParamsError
from stages.common.params import validate_params
from tests.support.parts import REPOSITORY

PROFILE = RayProfile(cpus=4, memory_gb=8, gpus=1, gpu_memory_gb=None, retries=3)
END = Ended(code=0, node="n1", started=1, ended=2)


class FakeCluster:
    """Gives one answer at each look; `meanwhile` happens before the look with its number."""

    def __init__(self, answers: Sequence[str | Lost | None], meanwhile: dict[int, Callable[[], None]]) -> None:
        self._answers: Iterator[str | Lost | None] = iter(answers)
        self._meanwhile = meanwhile
        self._looks = itertools.count()
        self.cancelled: list[str] = []

    def result(self, _task: Task, _timeout_s: float) -> str | Lost | None:
        self._meanwhile.get(next(self._looks), lambda: None)()
        return Lost(why=Loss.CANCELLED) if self.cancelled else next(self._answers)

    def cancel(self, task: Task) -> None:
        self.cancelled.append(task.name)

    def nodes(self) -> list[dict[str, float]]:
        return [{"CPU": 2.0}]


class Quiet:
    """A follower of no log."""

    def pump(self) -> None:
        """Nothing."""


class Watched:
    """A head of a job in `folder`, and what it said."""

    def __init__(self, folder: Path, answers: Sequence[str | Lost | None]) -> None:
        self.folder = folder
        self.requests: list[int] = []
        self.meanwhile: dict[int, Callable[[], None]] = {}
        self.cluster = FakeCluster(answers, self.meanwhile)

    def wait(self) -> Ended | Lost | str:
        times = itertools.count(0.0, 10.0)
        parts: Any = (self.cluster, Task(name="t1", ref=None), self.folder, PROFILE, Quiet(), self.requests)
        return Head(*parts, clock=lambda: next(times)).wait()

    def starts(self) -> None:
        write_attempt(self.folder, Attempt(node="n1", started=5.0))

    def ends(self) -> None:
        write_ended(self.folder, END)

    def asks(self) -> None:
        self.requests.append(signal.SIGINT)


def test_a_job_is_over_when_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not before its task has returned; each change is one line."""
    head = Watched(tmp_path, [None, None, ENDED])
    head.meanwhile |= {0: head.starts, 1: head.starts, 2: head.ends}
    assert head.wait() == END
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("job t1")]
    assert [line.split(" waited")[0] for line in lines] == [
        "job t1 queued",
        "job t1 running on n1",
        "job t1 running on n1",
        "job t1 ended on n1",
    ]
    assert lines[2].endswith("retries 1")


@pytest.mark.parametrize("answer", [f"{NO_FOLDER} n7", CUT_SHORT, Lost(why=Loss.NODE), ENDED])
def test_a_task_that_left_no_end_is_not_taken_for_done(tmp_path: Path, answer: str | Lost) -> None:
    """Whatever it returned: ended.json alone counts."""
    assert Watched(tmp_path, [None, answer]).wait() == answer


def test_a_task_that_no_node_can_hold_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a while, once; a cluster may still grow."""
    Watched(tmp_path, [None] * 6 + [CUT_SHORT]).wait()
    assert capsys.readouterr().out.count("(no node of the Ray cluster has 4 CPUs)") == 1


def test_a_request_reaches_a_job_that_runs_as_a_file(tmp_path: Path) -> None:
    """It checkpoints and ends; Ray has nothing to do with it."""
    head = Watched(tmp_path, [None, None, ENDED])
    head.meanwhile |= {0: head.starts, 1: head.asks, 2: head.ends}
    assert head.wait() == END
    assert (tmp_path / STOP_FILE).exists()
    assert head.cluster.cancelled == []


@pytest.mark.parametrize("runs", [False, True])
def test_a_task_in_the_queue_or_asked_twice_is_cancelled(tmp_path: Path, runs: bool) -> None:
    """There is nothing to save, or somebody does not want to wait."""
    head = Watched(tmp_path, [None] * 9)
    head.meanwhile |= {0: head.starts, 1: head.asks, 2: head.asks} if runs else {0: head.asks}
    assert head.wait() == Lost(why=Loss.CANCELLED)
    assert head.cluster.cancelled == ["t1"]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([{"CPU": 4, "GPU": 1}], ""),
        ([{"CPU": 8}, {"CPU": 4, "GPU": 2}], ""),
        ([{"CPU": 2, "GPU": 1}] * 9, "no node of the Ray cluster has 4 CPUs"),
        ([{"CPU": 64}], "no node of the Ray cluster has 1 GPU"),
        ([], "no node of the Ray cluster has 4 CPUs"),
    ],
)
def test_what_a_cluster_lacks_is_what_no_single_node_has(nodes: list[dict[str, float]], words: str) -> None:
    """A task runs on one node."""
    assert lacking(nodes, PROFILE) == words


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([{"CPU": 4, "GPU": 1}] * 2, ""),
        ([{"CPU": 4, "GPU": 1}, {"CPU": 8}], "1 of 2 nodes have 1 GPU"),
        ([{"CPU": 2}], "no node of the Ray cluster has 4 CPUs"),
    ],
)
def test_a_task_of_two_nodes_needs_two_that_can_hold_it(nodes: list[dict[str, float]], words: str) -> None:
    """Each of them with all that the profile says."""
    assert lacking(nodes, PROFILE.model_copy(update={"nodes": 2})) == words


def test_each_node_of_a_task_has_what_the_profile_says() -> None:
    """As Ray names it; what is not asked for is left out."""
    two = PROFILE.model_copy(update={"nodes": 2})
    assert bundles(two) == [{"CPU": 4, "GPU": 1, "memory": 8 * 10**9}] * 2
    assert bundles(two.model_copy(update={"gpus": 0}))[0] == {"CPU": 4, "memory": 8 * 10**9}


def test_several_nodes_need_a_cluster(make_plan: Callable[..., StagePlan], root: Path) -> None:
    """Ray that starts on this machine alone would wait for the second node for ever."""
    place = RayPlace(read_settings(root, {}), PROFILE.model_copy(update={"nodes": 2}))
    plan = make_plan("data/in.txt")
    place.environment_id(root, "toy", plan.access)
    with pytest.raises(CapillaryError, match="`nodes: 2` needs a Ray cluster"):
        place.execute(plan, Stop(), lambda _work: None)


def test_containers_of_several_nodes_would_not_find_each_other() -> None:
    """As on Slurm: they have a network of their own."""
    with pytest.raises(ParamsError, match="containers of podman have a network of their own"):
        validate_params(RayProfile, {**PROFILE.model_dump(), "nodes": 2, "runtime": "podman"}, "configs/ray.yaml")


class Losing(FakeCluster):
    """A cluster of several nodes that loses as many tasks as it has answers; a task after these ends well."""

    def __init__(self, folder: Path, losses: Sequence[str | Lost]) -> None:
        super().__init__([*losses, ENDED], {len(losses): lambda: write_ended(folder, END)})
        self.submitted = 0
        self.released = 0

    def submit(self, *_: object) -> Task:
        self.submitted += 1
        return Task(name="t1", ref=None)

    def release(self, _task: Task, _patience_s: float) -> None:
        self.released += 1


@pytest.mark.parametrize(
    ("nodes", "losses", "submitted"),
    [
        (2, [Lost(why=Loss.NODE), CUT_SHORT, Lost(why=Loss.NODE)], 4),
        (2, [Lost(why=Loss.NODE)] * 4, None),
        (2, [Lost(why=Loss.MEMORY)], None),
        (1, [Lost(why=Loss.NODE)], None),
    ],
)
def test_all_nodes_of_a_task_start_again_when_one_is_lost(
    make_plan: Callable[..., StagePlan],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    nodes: int,
    losses: Sequence[str | Lost],
    submitted: int | None,
) -> None:
    """As often as `retries` says. A task of one node Ray repeats itself, before it says that it is lost."""
    plan = make_plan(outs=())
    cluster = Losing(job_folder(plan), losses)
    monkeypatch.setattr(execute, "connected", lambda *_: contextlib.nullcontext(cluster))
    place = RayPlace(read_settings(root, {"RAY_ADDRESS": "there"}), PROFILE.model_copy(update={"nodes": nodes}))
    place.environment_id(root, "toy", plan.access)
    if submitted is None:
        with pytest.raises(CapillaryError):
            place.execute(plan, Stop(), lambda _work: None)
    else:
        assert place.execute(plan, Stop(), lambda _work: None) == 0
        assert cluster.submitted == submitted
    assert cluster.released == cluster.submitted


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (f"{NO_FOLDER} n7", "n7 does not see the folder"),
        (Lost(why=Loss.NODE), "its node or worker was lost"),
        (Lost(why=Loss.MEMORY), "ran out of memory"),
        (Lost(why=Loss.OTHER, words="No module named capillary"), "could not run it"),
        (CUT_SHORT, "cut short"),
    ],
)
def test_each_loss_has_words_and_a_remedy(end: str | Lost, words: str) -> None:
    """For somebody who knows Ray by name only."""
    error = explain(end, "train@a-0", "10.0.0.1:6379")
    assert words in error.what
    assert error.remedy


def test_the_config_that_ships_is_right() -> None:
    """And names profiles that it has."""
    config = read_config(REPOSITORY)
    assert config.profile_of("train") is not None
    assert config.profile_of("evaluate") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stages", {"train": "missing"}),
        ("kubernetes.name", "Has Capitals"),
        ("kubernetes.folder", "relative/path"),
        ("kubernetes.folder", "/project/../etc"),
        ("kubernetes.image", "image: evil"),
        ("profiles.train.cpus", 0),
        ("profiles.train.unknown", 1),
    ],
)
def test_a_mistake_in_the_config_is_named(key: str, value: object) -> None:
    """Before anything is submitted."""
    tree = read_yaml(REPOSITORY / "configs" / "ray.yaml")
    *sections, last = key.split(".")
    place = tree
    for section in sections:
        place = place[section]
    place[last] = value
    with pytest.raises(ParamsError):
        validate_params(RayConfig, tree, "configs/ray.yaml")


def test_a_project_without_the_file_is_told_where_to_get_it(tmp_path: Path) -> None:
    """One of an earlier version, or one's own."""
    with pytest.raises(ParamsError, match="with the resources of its jobs"):
        read_config(tmp_path)
