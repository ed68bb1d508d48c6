import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from capillary.compute.computing import stage_variables
from capillary.compute.profiles import COMPUTE_FILE, read_table
from capillary.launcher.access import read_access
from capillary.launcher.plan import Fingerprint, StagePlan, StageRequest, fingerprint_of, plan_stage
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode, ParamsError
from tests.support.parts import REPOSITORY
from tests.support.toy import LIMITS


@dataclass
class Entry:
    """What plan_stage asks of an entry of dvc.yaml."""

    deps: list[str] = field(default_factory=lambda: ["data/in.txt", "stages/__init__.py"])
    outs: list[str] = field(default_factory=lambda: ["data/out"])
    values: dict[str, Any] = field(default_factory=lambda: {"toy": {"times": 1}})
    cache_dir: Path = Path("/cache")

    def params(self) -> dict[str, Any]:
        return self.values

    def dep_hashes(self) -> dict[str, str]:
        return {name: f"hash of {name}" for name in self.deps}


@pytest.fixture(autouse=True)
def access(root: Path) -> None:
    (root / "configs").mkdir()
    (root / "configs" / "stages.yaml").write_text(
        f"toy: {{network: none, env: [TOY_*], resume: true, {LIMITS}}}\n"
        f"fetching: {{network: source, env: [], resume: false, {LIMITS}}}\n"
        f"computing: {{network: none, env: [], resume: true, {LIMITS.replace('gpu: none', 'gpu: auto')}}}\n"
        f"tracked: {{network: tracking, env: [], resume: false, {LIMITS}}}\n"
    )


def request(root: Path, stage: str = "toy") -> StageRequest:
    return StageRequest(stage=stage, address=f"{stage}@a-0", argv=("--flag", "x"), root=root, repository=root)


def plan(root: Path, entry: Entry | None = None, stage: str = "toy", **variables: str) -> StagePlan:
    access, settings = read_access(root, stage), read_settings(root, variables)
    computing = stage_variables(root, settings, tuple if access.gpu == "auto" else None)
    return plan_stage(request(root, stage), entry or Entry(), access, settings, ["image"], computing)  # type: ignore[arg-type]


def fingerprint(
    hashes: dict[str, str] | None = None,
    params: dict[str, Any] | None = None,
    address: str = "train@a-0",
    environment: tuple[str, ...] = ("3.11.2", "x86_64"),
) -> Fingerprint:
    hashes = hashes or {"data/raw": "1", "stages/train": "2"}
    return fingerprint_of(hashes, params or {"training": {"seed": 1}}, address, environment)


def test_the_fingerprint_tells_data_from_code() -> None:
    """Changed data leaves the code's fingerprint as it is and the other way round; the whole changes with either."""
    first = fingerprint()
    data = fingerprint({"data/raw": "x", "stages/train": "2"})
    code = fingerprint({"data/raw": "1", "stages/train": "x"})
    assert data.data != first.data
    assert data.code == first.code
    assert code.code != first.code
    assert code.data == first.data
    assert len({first.whole, data.whole, code.whole}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"training": {"seed": 2}}},
        {"params": {"training": {"seed": 1, "epochs": 3}}},
        {"address": "train@a-1"},
        {"hashes": {"data/raw": "1", "stages/train": "2", "stages/common/errors.py": "3"}},
        {"hashes": {"data/raw2": "1", "stages/train": "2"}},
    ],
    ids=["value", "more params", "address", "more code", "other name"],
)
def test_the_fingerprint_changes_with_whatever_decides_the_result(changes: dict[str, Any]) -> None:
    """State of other inputs is never resumed from."""
    assert fingerprint(**changes).whole != fingerprint().whole


def test_the_fingerprint_does_not_depend_on_order() -> None:
    """The order of deps and keys in a file decides nothing."""
    turned = fingerprint({"stages/train": "2", "data/raw": "1"}, {"b": 1, "a": {"d": 2, "c": 3}})
    assert turned == fingerprint({"data/raw": "1", "stages/train": "2"}, {"a": {"c": 3, "d": 2}, "b": 1})


def test_settings_of_the_machine_do_not_change_the_fingerprint(root: Path) -> None:
    """Workers, threads and the grace period decide how fast a result comes, never which."""
    one = plan(root)
    other = plan(root, CAPILLARY_WORKERS="7", CAPILLARY_THREADS="5", CAPILLARY_GRACE_S="99", TOY_X="y")
    assert one.fingerprint == other.fingerprint
    assert one.state_dir == other.state_dir
    assert (other.environment["CAPILLARY_WORKERS"], other.environment["CAPILLARY_THREADS"]) == ("7", "5")
    assert other.grace_s == 99


def test_a_change_of_profile_alone_changes_no_fingerprint(root: Path) -> None:
    """A training that was stopped under one profile goes on under another: state and result are the same."""
    shutil.copy(REPOSITORY / COMPUTE_FILE, root / COMPUTE_FILE)
    names = ["auto", *read_table(root).profiles]
    plans = [plan(root, stage="computing", CAPILLARY_PROFILE=name) for name in names]
    assert len({made.fingerprint for made in plans}) == 1
    assert len({made.state_dir for made in plans}) == 1
    told = {name: made.environment["CAPILLARY_PROFILE"] for name, made in zip(names, plans, strict=True)}
    assert told == {name: name if name != "auto" else "cpu" for name in names}
    (root / COMPUTE_FILE).write_text((root / COMPUTE_FILE).read_text().replace("cache: map", "cache: memory"))
    edited = plan(root, stage="computing")
    assert edited.environment["CAPILLARY_CACHE"] == "memory"
    assert edited.fingerprint == plans[0].fingerprint


def test_limits_of_memory_reach_the_stage(root: Path) -> None:
    """The interval of the monitor always, the limit only where there is one."""
    assert "CAPILLARY_MEMORY_ABORT_GB" not in plan(root).environment
    told = plan(root, CAPILLARY_MEMORY_ABORT_GB="1.5", CAPILLARY_MONITOR_INTERVAL_S="2").environment
    assert (told["CAPILLARY_MEMORY_ABORT_GB"], told["CAPILLARY_MONITOR_INTERVAL_S"]) == ("1.5", "2")


def test_a_plan_is_what_the_entry_declares(root: Path) -> None:
    """Deps, outs, params and arguments come through as they are; state is keyed by address and fingerprint."""
    made = plan(root)
    assert [dep.name for dep in made.deps] == ["data/in.txt", "stages/__init__.py"]
    assert [dep.host for dep in made.deps] == [root / "data/in.txt", root / "stages/__init__.py"]
    assert (made.outs, made.params, made.argv) == (("data/out",), {"toy": {"times": 1}}, ("--flag", "x"))
    assert made.state_dir.name == f"toy@a-0-{made.fingerprint.whole[:16]}"
    assert made.writable == (made.state_dir,)
    assert made.environment["CAPILLARY_STATE_DIR"] == str(made.state_dir)
    assert dataclasses.is_dataclass(made)


def test_a_stage_gets_its_variables_and_no_other(root: Path) -> None:
    """configs/stages.yaml decides which variables go in, whether they come from .env or from the environment."""
    (root / ".env").write_text("TOY_TOKEN=t\nSECRET=s\n")
    made = plan(root, TOY_MORE="m", AWS_SECRET_ACCESS_KEY="k", PATH="/bin", LC_ALL="C")
    assert made.environment.items() >= {"TOY_TOKEN": "t", "TOY_MORE": "m"}.items()
    assert made.user_environment == {"PATH": "/bin", "LC_ALL": "C"}
    assert {"SECRET", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(made.environment)


@pytest.mark.parametrize(
    ("stage", "deps", "variables", "needs"),
    [
        ("toy", ["s3://bucket/stacks"], {}, False),
        ("fetching", ["data/in.txt"], {}, False),
        ("fetching", ["s3://bucket/stacks"], {}, True),
        ("tracked", ["data/in.txt"], {}, False),
        ("tracked", ["data/in.txt"], {"MLFLOW_TRACKING_URI": "https://mlflow.example.org"}, True),
    ],
)
def test_the_network_is_needed_only_where_there_is_a_server(
    root: Path, stage: str, deps: list[str], variables: dict[str, str], needs: bool
) -> None:
    """A source on this disk and the embedded store need none, whatever configs/stages.yaml would allow."""
    assert plan(root, Entry(deps=deps), stage, **variables).needs_network is needs


@pytest.mark.parametrize("url", ["s3://bucket/stacks", "https://example.org/x.zip", "gs://b/c"])
def test_a_url_is_a_dep_without_a_place_on_this_machine(root: Path, url: str) -> None:
    """The stage fetches it by itself."""
    made = plan(root, Entry(deps=[url]))
    assert [(dep.name, dep.host) for dep in made.deps] == [(url, None)]


@pytest.mark.parametrize("name", ["../beside/x.txt", "./data/../data/in.txt"])
def test_a_dep_may_lie_beside_the_workspace(root: Path, name: str) -> None:
    """Relative paths are resolved from the workspace, by name."""
    (dep,) = plan(root, Entry(deps=[name])).deps
    assert dep.host is not None
    assert dep.host.is_file()
    assert ".." not in dep.host.parts


def test_a_missing_dep_is_named(root: Path) -> None:
    """Before anything starts."""
    with pytest.raises(CapillaryError, match=r"dependency data/raw does not exist") as caught:
        plan(root, Entry(deps=["data/raw"]))
    assert caught.value.code == ExitCode.DATA
    assert caught.value.file == root / "data/raw"


@pytest.mark.parametrize("out", ["../out.txt", "/tmp/out.txt", "data/../../x"])
def test_an_out_outside_of_the_workspace_is_refused(root: Path, out: str) -> None:
    """Nothing could publish it whole."""
    with pytest.raises(CapillaryError, match="outside of the workspace"):
        plan(root, Entry(outs=[out]))


def test_a_stage_without_tracking_gets_no_server(root: Path) -> None:
    """network: none means no tracking either, whatever .env holds."""
    made = plan(root, MLFLOW_TRACKING_URI="https://example.org")
    assert not any(name.startswith("MLFLOW") for name in made.environment)


def test_without_a_server_runs_are_kept_in_the_repository(root: Path) -> None:
    """One SQLite store for one repository, also from a temporary experiment's workspace."""
    made = plan(root, stage="tracked")
    assert made.environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{root}/mlruns/mlflow.db"
    assert made.environment["CAPILLARY_ARTIFACT_ROOT"] == f"{root}/mlruns/artifacts"
    assert made.writable == (root / "mlruns",)


@pytest.mark.parametrize("uri", ["https://dagshub.com/u/r.mlflow", "postgresql://u@h/db", "databricks"])
def test_a_server_is_left_to_the_stage_s_own_variables(root: Path, uri: str) -> None:
    """configs/stages.yaml hands MLFLOW_TRACKING_* on; the launcher adds no folder to write."""
    made = plan(root, stage="tracked", MLFLOW_TRACKING_URI=uri)
    assert "CAPILLARY_ARTIFACT_ROOT" not in made.environment
    assert made.writable == ()


@pytest.mark.parametrize(
    ("uri", "folder"), [("sqlite:///runs/x.db", "my project/runs"), ("sqlite:////{tmp}/store/x.db", "store")]
)
def test_a_database_of_the_user_s_own_is_writable_wherever_the_stage_runs(
    root: Path, tmp_path: Path, uri: str, folder: str
) -> None:
    """A relative path means the repository, not the sandbox, which is removed."""
    made = plan(root, stage="tracked", MLFLOW_TRACKING_URI=uri.replace("/{tmp}", str(tmp_path)))
    assert made.writable == (tmp_path / folder,)
    assert made.environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path / folder / 'x.db'}"
    assert made.environment["CAPILLARY_ARTIFACT_ROOT"] == str(tmp_path / folder / "artifacts")


@pytest.mark.parametrize("uri", ["mlruns", "/data/mlruns", "file:///data/mlruns", "./x"])
def test_a_folder_as_tracking_store_is_refused(root: Path, uri: str) -> None:
    """MLflow 3.13 and later stop on it, in the middle of a stage."""
    with pytest.raises(CapillaryError, match="MLFLOW_TRACKING_URI") as caught:
        plan(root, stage="tracked", MLFLOW_TRACKING_URI=uri)
    assert caught.value.value == uri


def test_a_stage_without_an_access_entry_is_refused(root: Path) -> None:
    """Nothing is allowed by default."""
    with pytest.raises(ParamsError, match="no entry `to`; did you mean `toy`"):
        plan(root, stage="to")
    shutil.rmtree(root / "configs")
    with pytest.raises(ParamsError, match=r"no stages\.yaml"):
        plan(root)
