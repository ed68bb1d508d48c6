from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from capillary.launcher.run import read_request
from capillary.planning.access import is_gate, read_access
from capillary.planning.gate import (
    Gate,
    gate_access,
    gate_of,
    gates_before,
    need_of_cell,
    plan_gate,
    servers_of,
)
from capillary.planning.plan import StagePlan, StageRequest
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ParamsError
from stages.common.runtime import NOTHING_KNOWN, Compute, GateOrder
from tests.support.parts import REPOSITORY

ACCESS = """
door: {gate: true}
toy: {network: none, env: [TOY_*], resume: true, gpu: auto, memory_gb: 4, pids: 99, shm_gb: 2}
"""


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a gate and a stage."""
    files = ("dvc.yaml", "stages/common/errors.py", "stages/door/__main__.py", "stages/toy/requirements.txt")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "configs").mkdir()
    (root / "configs/stages.yaml").write_text(ACCESS)
    (root / "configs/door.yaml").write_text("services: []\n")
    monkeypatch.chdir(root)
    return root


def request() -> StageRequest:
    return read_request("door", (), {"DVC_STAGE": "toy@a-0"})


def plan(root: Path, device: Literal["auto", "cpu"] = "auto", **variables: str) -> StagePlan:
    gate = Gate(name="door", gated="toy@a-0", root=root, cache_dir=root / "cache")
    settings = read_settings(root, variables)
    return plan_gate(request(), gate, gate_access(request()), settings, ["image"], Compute(device=device))


def test_a_gate_may_run_in_another_stage_s_entry(project: Path) -> None:
    """The entry is the gated one's; the address is the gate's own, so that neither state nor logs are shared."""
    assert is_gate(project, "door")
    assert not is_gate(project, "toy")
    assert (request().stage, request().address, request().entry) == ("door", "door@toy@a-0", "toy@a-0")


def test_any_other_stage_may_not(project: Path) -> None:
    """A copied entry whose cmd was forgotten is still refused."""
    with pytest.raises(CapillaryError, match="the cmd of door@x runs the stage toy"):
        read_request("toy", (), {"DVC_STAGE": "door@x"})


@pytest.mark.usefixtures("project")
def test_a_gate_by_itself_is_refused() -> None:
    """There is nothing that it gates."""
    with pytest.raises(CapillaryError, match="door is a gate") as caught:
        read_request("door", (), {})
    assert "capillary preflight" in caught.value.remedy


def test_a_gate_sees_what_the_gated_stage_will_see(project: Path) -> None:
    """The same GPU, memory, network and variables; but no resume folder."""
    access = gate_access(request())
    assert access.model_dump() == {**read_access(project, "toy").model_dump(), "resume": False}
    assert plan(project, TOY_X="x", SECRET="s").environment["TOY_X"] == "x"


@pytest.mark.parametrize(
    ("network", "uri", "needed"),
    [
        ("tracking", "https://mlflow.example.org", True),
        ("tracking", "", False),
        ("source", "https://mlflow.example.org", False),
        ("none", "https://mlflow.example.org", False),
    ],
)
def test_a_gate_has_the_gated_stage_s_network(project: Path, network: str, uri: str, needed: bool) -> None:
    """How else could it ask whether the stage's server answers? A gate has no source to fetch from."""
    (project / "configs/stages.yaml").write_text(ACCESS.replace("network: none", f"network: {network}"))
    assert gate_access(request()).network == network
    made = plan(project, MLFLOW_TRACKING_URI=uri)
    assert made.access.network == network
    assert made.needs_network is needed


def test_a_gate_is_made_from_what_is_asked_for(project: Path) -> None:
    """In the workspace of the request, with the cache of the entry."""
    entry = Gate(name="x", gated="x", root=Path("/x"), cache_dir=Path("/cache"))
    gate = gate_of(request(), entry)
    assert (gate.name, gate.gated, gate.root, gate.cache_dir) == ("door", "toy@a-0", project, Path("/cache"))


@pytest.mark.parametrize(
    ("config", "servers"),
    [
        ("services: [http://a, https://b]", ("http://a", "https://b")),
        ("services: [1, http://a, {b: c}]", ("http://a",)),
        ("services: http://a", ()),
        ("open: true", ()),
    ],
)
def test_servers_are_the_listed_urls(project: Path, config: str, servers: tuple[str, ...]) -> None:
    """What else is in the gate's config, the gate itself judges."""
    (project / "configs/door.yaml").write_text(config)
    assert servers_of(request()) == servers


def test_a_gate_whose_stage_has_no_pins_declares_none(project: Path) -> None:
    """A stage of the standard library alone."""
    (project / "stages/toy/requirements.txt").unlink()
    assert not [dep.name for dep in plan(project).deps if "toy" in dep.name]


def test_a_gate_s_own_image_is_built_with_nothing_allowed(project: Path) -> None:
    """Then there is no stage that it gates."""
    access = read_access(project, "door")
    assert (access.network, access.env, access.resume, access.gpu, access.image) == ("none", (), False, "none", None)
    assert access.memory_gb is None


def test_a_gate_declares_its_code_and_config_and_nothing_else(project: Path) -> None:
    """No outs, no params, no folder to write; the gated stage's pins, to compare them with what is installed."""
    made = plan(project)
    code = ["stages/__init__.py", "stages/common", "stages/door"]
    assert [dep.name for dep in made.deps] == [*code, "configs/door.yaml", "stages/toy/requirements.txt"]
    assert (made.outs, made.params, made.writable, made.gated) == ((), {}, (), "toy@a-0")
    assert made.order.gate == GateOrder(gated="toy@a-0", gpu="auto", place="process", need=NOTHING_KNOWN)


def test_a_gpu_can_be_required_for_a_run(project: Path) -> None:
    """CAPILLARY_REQUIRE_GPU, without an edit of configs/stages.yaml."""
    plans = plan(project), plan(project, "cpu"), plan(project, "cpu", CAPILLARY_REQUIRE_GPU="yes")
    assert [made.order.gate and made.order.gate.gpu for made in plans] == ["auto", "none", "required"]


def test_listed_services_give_a_gate_a_network(project: Path) -> None:
    """How else could it ask them? Addresses on this machine are reached through its own network."""
    assert not plan(project).needs_network
    (project / "configs/door.yaml").write_text("services: ['http://127.0.0.1:8080']\n")
    made = plan(project)
    assert made.needs_network
    assert made.servers == ("http://127.0.0.1:8080",)
    assert made.access.network == "tracking"
    (project / "configs/stages.yaml").write_text(ACCESS.replace("network: none", "network: source"))
    assert plan(project).needs_network


def test_a_gate_reaches_its_servers_through_the_proxy(project: Path) -> None:
    """Also where its stage needs no network, with runs in the embedded store; it gets no credentials then."""
    access = ACCESS.replace("network: none", "network: tracking").replace("TOY_*", "'*_proxy', MLFLOW_*")
    (project / "configs/stages.yaml").write_text(access)
    told = {"https_proxy": "http://proxy:3128", "MLFLOW_TRACKING_TOKEN": "sesame"}
    assert "https_proxy" not in plan(project, **told).environment
    (project / "configs/door.yaml").write_text("services: ['http://docs.example.org']\n")
    made = plan(project, **told).environment
    assert made["https_proxy"] == "http://proxy:3128"
    assert "MLFLOW_TRACKING_TOKEN" not in made


def test_a_gate_without_its_config_is_named(project: Path) -> None:
    """Before anything starts."""
    (project / "configs/door.yaml").unlink()
    with pytest.raises(CapillaryError, match=r"configs/door\.yaml does not exist"):
        plan(project)


@pytest.mark.parametrize("entry", ["{gate: false}", "{gate: true, gpu: none}", "{gate: yes, resum: 1}"])
def test_a_wrong_entry_of_a_gate_is_refused(project: Path, entry: str) -> None:
    """It has the one key, and that is true."""
    (project / "configs/stages.yaml").write_text(ACCESS.replace("{gate: true}", entry))
    with pytest.raises(ParamsError, match=r"configs/stages\.yaml \[door\]"):
        gate_access(request())


def test_preflight_gates_train_in_this_repository() -> None:
    """dvc.yaml runs it first."""
    assert is_gate(REPOSITORY, "preflight")
    commands = (REPOSITORY / "dvc.yaml").read_text().split("  train:\n")[1].split("deps:")[0]
    assert commands.index("capillary stage preflight") < commands.index("capillary stage train")


def test_the_gate_of_a_training_is_told_what_that_needs(project: Path) -> None:
    """From params.yaml, and from what the profile says of the machine; of another stage nothing is known."""
    (project / "params.yaml").write_text(
        "training: {patch_voxels: [12, 64, 64], filters: [16, 32, 64], batch_size: 2}\n"
    )
    cpu = Compute(device="cpu")
    few = need_of_cell(request(), "train@a-0", replace(cpu, micro_batch=1))
    assert 0 < few.ram_gb < need_of_cell(request(), "train@a-0", cpu).ram_gb
    assert need_of_cell(request(), "toy@a-0", cpu) == NOTHING_KNOWN
    (project / "params.yaml").write_text("toy: {mode: copy}\n")
    assert need_of_cell(request(), "train@a-0", cpu) == NOTHING_KNOWN


@pytest.mark.usefixtures("project")
def test_gates_of_an_entry_are_found_for_the_job_that_runs_them_on_its_node() -> None:
    """In their order, with their arguments; other commands are none."""
    stage = replace(request(), stage="toy", address="toy@a-0", gated=None)
    commands = ["capillary stage door --fast", "echo capillary stage door", "capillary stage toy --flag x"]
    (gate,) = gates_before(commands, stage)
    assert gate == replace(request(), argv=("--fast",))
