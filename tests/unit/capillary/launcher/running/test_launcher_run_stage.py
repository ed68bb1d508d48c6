"""A whole run, from what DVC asks for to the outs in the workspace, with real entries of DVC."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from dvc.repo import Repo

from capillary.compute.circumstances import Circumstances, digests_of, recall
from capillary.dvc.graph import Entry
from capillary.launcher.run import plan_request, read_request, run_stage
from capillary.lifetimes.stop import Stop
from capillary.places import choose
from capillary.places.job import job_folder
from capillary.places.outcome import write_circumstances
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.publishing import finished
from capillary.settings import Settings, read_settings
from stages.common.errors import CapillaryError, DamagedError, ExitCode, ParamsError, UsageError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits, find_limits
from tests.support.parts import REPOSITORY
from tests.support.repository import start_dvc
from tests.support.toy import LIMITS

DVC_YAML = """
stages:
  toy:
    cmd: [capillary stage door, capillary stage toy]
    deps: [data/in.txt]
    params: [toy.times]
    outs: [data/out]
"""
ACCESS = f"toy: {{network: none, env: [], resume: true, {LIMITS}}}\ndoor: {{gate: true}}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace, and DVC's folder for this run."""
    root = tmp_path / "project"
    files = {
        "dvc.yaml": DVC_YAML,
        "params.yaml": "toy: {times: 1}\n",
        "configs/stages.yaml": ACCESS,
        "configs/door.yaml": "services: []\n",
        **dict.fromkeys(("stages/__init__.py", "stages/common/__init__.py", "stages/door/__init__.py"), ""),
        "data/in.txt": "in",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    start_dvc(root)
    monkeypatch.chdir(root)
    for name in [name for name in os.environ if name.startswith("CAPILLARY_")]:
        monkeypatch.delenv(name)
    return root


def record(root: Path, text: str) -> None:
    """Have DVC know an out, as after a run."""
    (root / "data/out").write_text(text)
    with Repo(str(root)) as repo:
        repo.commit(force=True)


class HereExecutor:
    """Makes the out at once and in this process."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.plans: list[StagePlan] = []
        self.asked: list[tuple[Path, str]] = []
        self.gpus_asked = 0
        self.during: Callable[[StagePlan], object] = lambda _plan: None

    def environment_id(self, repository: Path, stage: str, _access: StageAccess) -> list[str]:
        self.asked.append((repository, stage))
        return ["here"]

    def gpus(self, _settings: Settings) -> tuple[Gpu, ...]:
        self.gpus_asked += 1
        return ()

    def execute(self, plan: StagePlan, _stop: Stop, publish: Callable[[Path], None]) -> int:
        self.plans.append(plan)
        plan.state_dir.mkdir(parents=True, exist_ok=True)
        self.during(plan)
        if self.code == 0:
            work = plan.repository / "work"
            (work / "data").mkdir(parents=True, exist_ok=True)
            (work / "data/out").write_text("new")
            publish(work)
        return self.code


READER = """
  reader:
    cmd: capillary stage reader
    deps: [data/out, data/in.txt]
    params: [toy.times]
    outs: [data/read]
"""


@pytest.fixture
def made(root: Path) -> Path:
    """The out of one entry that another reads: a folder with a file."""
    (root / "dvc.yaml").write_text(DVC_YAML + READER)
    (root / "configs/stages.yaml").write_text(ACCESS + f"reader: {{network: none, env: [], resume: false, {LIMITS}}}\n")
    (root / "stages/reader").mkdir()
    (root / "stages/reader/__init__.py").touch()
    (root / "data/out").mkdir()
    (root / "data/out/a.txt").write_text("a")
    return root / "data/out"


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> HereExecutor:
    executor = HereExecutor()
    monkeypatch.setattr("capillary.launcher.run.choose_executor", lambda _settings: executor)
    return executor


def run(name: str = "toy", **variables: str) -> int:
    return run_stage(name, (), {"DVC_STAGE": "toy", **variables}, Stop())


def checkpoint(plan: StagePlan) -> None:
    (plan.state_dir / "checkpoint").touch()


def test_a_run_publishes_its_outs_and_needs_its_state_no_more(root: Path, executor: HereExecutor) -> None:
    """There is nothing to resume any more."""
    executor.during = checkpoint
    assert run() == 0
    assert (root / "data/out").read_text() == "new"
    assert not executor.plans[0].state_dir.exists()


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_fails_keeps_its_state_and_the_former_outs(
    root: Path, executor: HereExecutor, capsys: pytest.CaptureFixture[str], kept: bool
) -> None:
    """DVC has removed the outs before it started the stage. An empty state folder is no use."""
    record(root, "old")
    (root / "data/out").unlink()
    executor.code = 4
    if kept:
        executor.during = checkpoint
    assert run() == 4
    assert (root / "data/out").read_text() == "old"
    assert "former data/out restored from DVC's cache" in capsys.readouterr().out
    assert executor.plans[0].state_dir.exists() == kept


def test_an_error_of_the_launcher_s_own_puts_former_outs_back_too(root: Path, executor: HereExecutor) -> None:
    """Here an unknown key in params.yaml, before anything ran."""
    record(root, "old")
    (root / "data/out").unlink()
    (root / "params.yaml").write_text("toy: {times: 1, tmes: 2}\n")
    with pytest.raises(ParamsError, match="unknown key `tmes`"):
        run()
    assert executor.plans == []
    assert (root / "data/out").read_text() == "old"


def test_outs_made_from_deps_that_changed_are_not_published(root: Path, executor: HereExecutor) -> None:
    """Nor kept for the next run."""
    executor.during = lambda _plan: (root / "data/in.txt").write_text("changed")
    with pytest.raises(CapillaryError, match="changed while it ran") as caught:
        run()
    assert caught.value.code == ExitCode.DATA
    assert not (root / "data/out").exists()
    assert not list((root / ".capillary").glob("finished/*"))


def test_a_run_that_dvc_did_not_record_is_not_repeated(root: Path, executor: HereExecutor) -> None:
    """DVC was killed before it wrote dvc.lock; it removes the outs before the next run."""
    assert run() == 0
    (root / "data/out").unlink()
    assert run() == 0
    assert (root / "data/out").read_text() == "new"
    assert len(executor.plans) == 1


def keep_former_run(root: Path, executor: HereExecutor, text: str) -> StagePlan:
    """Outs of a run that ended just before it was killed."""
    plan = plan_request(read_request("toy", (), {}), Entry(root, "toy"), read_settings(root), executor)
    (root / "former/data").mkdir(parents=True)
    (root / "former/data/out").write_text(text)
    finished.keep(plan, root / "former")
    plan.state_dir.mkdir(parents=True)
    checkpoint(plan)
    return plan


def test_outs_of_a_run_that_dvc_did_not_record_are_taken(root: Path, executor: HereExecutor) -> None:
    """The launcher was killed between the last epoch and dvc.lock: nothing is computed again."""
    plan = keep_former_run(root, executor, "kept")
    assert run() == 0
    assert executor.plans == []
    assert (root / "data/out").read_text() == "kept"
    assert not plan.state_dir.exists()


def test_a_run_that_is_forced_computes_again(root: Path, executor: HereExecutor) -> None:
    """dvc.lock knows the outs already: who asks all the same means it."""
    record(root, "old")
    keep_former_run(root, executor, "kept")
    assert run() == 0
    assert (root / "data/out").read_text() == "new"


def test_without_resume_a_run_starts_from_its_beginning(
    root: Path, executor: HereExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CAPILLARY_RESUME=no: neither kept outs nor a checkpoint are taken."""
    keep_former_run(root, executor, "kept")
    found = []
    executor.during = lambda plan: found.extend(plan.state_dir.iterdir())
    monkeypatch.setenv("CAPILLARY_RESUME", "no")
    assert run() == 0
    assert (root / "data/out").read_text() == "new"
    assert found == []


def test_a_stopped_run_finds_its_state(root: Path, executor: HereExecutor) -> None:
    """With the same deps, params and environment; after a change it begins again."""
    executor.code = 143
    executor.during = checkpoint
    assert run() == 143
    found: list[Path] = []
    executor.during = lambda plan: found.extend(plan.state_dir.iterdir())
    run()
    assert [path.name for path in found] == ["checkpoint"]
    (root / "params.yaml").write_text("toy: {times: 2}\n")
    run()
    assert len(found) == 1


def test_a_gate_publishes_nothing_and_minds_no_dep(root: Path, executor: HereExecutor) -> None:
    """Its code may be edited while it runs; the entry's deps are the gated stage's affair."""
    executor.during = lambda _plan: (root / "data/in.txt").write_text("changed")
    assert run("door") == 0
    assert [plan.address for plan in executor.plans] == ["door@toy"]
    assert not (root / "data/out").exists()


@pytest.mark.parametrize(("gpu", "asked"), [("none", 0), ("auto", 1)])
def test_gpus_are_looked_for_only_where_a_stage_can_use_one(
    root: Path, executor: HereExecutor, gpu: str, asked: int
) -> None:
    """A look takes a second. The environment is asked for in the workspace, under the stage's name."""
    (root / "configs/stages.yaml").write_text(ACCESS.replace("gpu: none", f"gpu: {gpu}"))
    (root / "configs/compute.yaml").write_text((REPOSITORY / "configs/compute.yaml").read_text())
    run()
    assert executor.gpus_asked == asked
    assert executor.asked == [(root, "toy")]


def read(root: Path, executor: HereExecutor) -> int:
    (root / "work/data").mkdir(parents=True, exist_ok=True)
    (root / "work/data/read").write_text("read")
    return run_stage("reader", (), {"DVC_STAGE": "reader"}, Stop())


@pytest.mark.parametrize("name", ["a.txt", "sub", ""])
def test_a_link_in_what_another_stage_made_is_refused_by_name(
    root: Path, executor: HereExecutor, made: Path, tmp_path: Path, name: str
) -> None:
    """A key of the user would be mounted for this stage, which could print it."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/id_rsa").write_text("a key")
    place = made / name if name else made
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / ("keys/id_rsa" if name == "a.txt" else "keys"))
    with pytest.raises(CapillaryError, match=r"data/out (is|holds) a link") as caught:
        read(root, executor)
    assert (str(caught.value.file), caught.value.value) == (name or "out", str(place.readlink()))
    assert executor.plans == []


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder"])
def test_links_into_dvc_s_cache_and_the_user_s_own_links_stay(
    root: Path, executor: HereExecutor, made: Path, tmp_path: Path, kind: str
) -> None:
    """Under cache.type symlink every file of an out is a link; what no stage made may lie anywhere."""
    cache = Path(Entry(root, "reader").cache_dir)
    (cache / "ab").mkdir(parents=True)
    (cache / "ab/cd").write_text("a")
    if kind == "link to a file":
        (made / "a.txt").unlink()
        (made / "a.txt").symlink_to(cache / "ab/cd")
    else:
        (made / "sub").symlink_to(cache / "ab")
    (tmp_path / "mine.txt").write_text("in")
    (root / "data/in.txt").unlink()
    (root / "data/in.txt").symlink_to(tmp_path / "mine.txt")
    assert read(root, executor) == 0


def test_a_link_in_the_state_is_refused_by_name(root: Path, executor: HereExecutor, tmp_path: Path) -> None:
    """The run continues from it, with what a previous one left."""
    plan = plan_request(read_request("toy", (), {}), Entry(root, "toy"), read_settings(root), executor)
    plan.state_dir.mkdir(parents=True)
    (plan.state_dir / "checkpoint").symlink_to(tmp_path)
    with pytest.raises(CapillaryError, match="the state of toy holds a link") as caught:
        run()
    assert str(plan.state_dir) in caught.value.remedy
    assert executor.plans == []


@pytest.mark.parametrize("folder", ["data/out", "data/out/kept", "stages/common/kept", "other/../data/out"])
def test_checkpoints_in_a_dep_or_an_out_are_refused_before_the_stage_starts(
    root: Path, executor: HereExecutor, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """They would change it: the outs of a whole training could not be published."""
    (root / "dvc.yaml").write_text(DVC_YAML.replace("data/in.txt]", "data/in.txt, stages/common]"))
    monkeypatch.setenv("CAPILLARY_CHECKPOINT_DIR", folder)
    with pytest.raises(UsageError, match=r"checkpoints would be in .* of toy") as caught:
        run()
    assert "CAPILLARY_CHECKPOINT_DIR" in caught.value.remedy
    assert executor.plans == []


@pytest.mark.parametrize("folder", ["data", "data/output", ".", "../elsewhere"])
def test_checkpoints_may_be_anywhere_else(
    root: Path, executor: HereExecutor, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Next to an out, and outside the project."""
    monkeypatch.setenv("CAPILLARY_CHECKPOINT_DIR", folder)
    assert run() == 0
    assert (root / folder).resolve() == executor.plans[0].state_dir.parent.resolve()


def test_a_damaged_file_of_the_cache_is_refused_before_the_stage_starts(
    root: Path, made: Path, executor: HereExecutor
) -> None:
    """By name, and untouched; a gate, which reads none of it, is not kept waiting for that."""
    with Repo(str(root)) as repo:
        repo.commit("toy", force=True)
        (stage,) = [stage for stage in repo.index.stages if stage.addressing == "toy"]
        info = next(iter(stage.outs[0].get_obj()))[2]
        cached = Path(repo.cache.local.oid_to_path(info.value))
        cached.chmod(0o644)
        cached.write_text("damage")
        cached.chmod(0o444)
        shutil.rmtree(made)
        repo.checkout("data/out", force=True)
    with pytest.raises(DamagedError, match="data/out is damaged") as refused:
        run_stage("reader", (), {"DVC_STAGE": "reader"}, Stop())
    assert refused.value.file == made / "a.txt"
    assert executor.plans == []
    assert (made / "a.txt").read_text() == cached.read_text() == "damage"


def test_a_damaged_dvc_lock_is_refused_before_anything_is_planned(root: Path, executor: HereExecutor) -> None:
    """Else a stage would run for nothing, and DVC write the record again."""
    (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  toy:\n    cmd: capillary stage toy\n")
    with pytest.raises(DamagedError, match=r"dvc\.lock ends within the record of toy"):
        run()
    assert executor.plans == []


def test_what_a_node_computed_with_is_kept_for_an_audit(
    root: Path, executor: HereExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a result that a job made the node says it, not the machine that collects it."""
    node = Circumstances(environment=("here",), packages={}, cpu="of n7", device="cpu", threads=3, processes=1)

    class InJob(HereExecutor):
        def take_gates(self, gates: Sequence[StagePlan]) -> None:
            assert [gate.stage for gate in gates] == ["door"]

        def limits(self) -> Limits:
            return find_limits()

        def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
            job_folder(plan).mkdir(parents=True)
            write_circumstances(job_folder(plan), node)
            return executor.execute(plan, stop, publish)

    monkeypatch.setattr(choose, "choose_place", lambda *_: InJob())
    monkeypatch.setenv("CAPILLARY_PLACE", "slurm")
    assert run() == 0
    assert recall(root, "toy", digests_of(root, ["data/out"])) == node
