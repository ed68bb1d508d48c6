"""What a stage reads from order.json, what a stage by hand has instead, and which files are refused."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import ExitCode, ParamsError
from stages.common.runtime import (
    Compute,
    GateOrder,
    Messages,
    Monitoring,
    Need,
    StageOrder,
    order_json,
    read_gate_runtime,
    read_order,
    read_runtime,
)
from stages.common.tracking.names import DEFAULT

WHOLE = StageOrder(
    stage="train@warp-1",
    fingerprint="f",
    data_fingerprint="d",
    code_fingerprint="c",
    state_dir=Path("/tmp/state"),
    cache_dir=Path("/tmp/cache"),
    artifact_root="/work/mlruns/artifacts",
    experiment_name="vesselnn",
    compute=Compute(
        profile="gpu-small",
        device="cpu",
        micro_batch=4,
        workers=3,
        threads=2,
        amp=False,
        cache="memory",
        compile=True,
        processes=5,
    ),
    monitoring=Monitoring(interval_s=None, memory_abort_gb=1.5),
    messages=Messages(level="debug", form="json"),
    gate=GateOrder(
        gated="train@warp-1",
        gpu="required",
        place="container",
        torch_cuda="12.6",
        need=Need(ram_gb=3.5, why="patches of 12×64×64"),
    ),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without an order, on a machine of six cores, without a tracking server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    return tmp_path


def test_a_stage_that_is_started_by_hand_has_every_default() -> None:
    """All cores, the embedded store, no profile, no memory limit."""
    runtime = asdict(read_runtime())
    assert runtime.pop("compute") == {
        "profile": "by-hand",
        "device": "auto",
        "micro_batch": None,
        "workers": 6,
        "threads": 6,
        "amp": True,
        "cache": "map",
        "compile": False,
        "processes": 1,
        "nodes": 1,
    }
    assert runtime.pop("monitoring") == {"interval_s": 10.0, "memory_abort_gb": None}
    assert runtime.pop("messages") == {"level": "info", "form": "text"}
    assert runtime == {
        "version": 1,
        "request": None,
        "stage": "by-hand",
        "fingerprint": "by-hand",
        "data_fingerprint": "by-hand",
        "code_fingerprint": "by-hand",
        "state_dir": Path(".capillary/state/by-hand"),
        "cache_dir": None,
        "artifact_root": None,
        "experiment_name": None,
        "registered_model": DEFAULT,
        "rehearsal": False,
        "tracking": "auto",
        "outbox": Path(".capillary/outbox"),
        "receipts": Path(".capillary/receipts"),
        "downloads": Path(".capillary/downloads"),
        "provenance": None,
        "gate": None,
        "rendezvous": None,
        "tracking_uri": "sqlite:///mlruns/mlflow.db",
    }


def test_where_the_cores_cannot_be_counted_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.cpu_count` may not know."""
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert (read_runtime().workers, read_runtime().threads) == (1, 1)


def test_a_stage_reads_what_the_host_wrote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key comes back as it was, and with it the address of the server from the environment."""
    (folder / "order.json").write_bytes(order_json(WHOLE))
    assert read_order() == WHOLE
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://h:5000")
    runtime = read_runtime()
    assert {name: getattr(runtime, name) for name in vars(WHOLE)} == vars(WHOLE)
    assert (runtime.tracking_uri, runtime.workers, runtime.threads) == ("http://h:5000", 3, 2)


def test_an_order_by_hand_may_hold_a_few_keys(folder: Path) -> None:
    """The others have their defaults."""
    (folder / "order.json").write_text('{"compute": {"workers": 1}, "monitoring": {"interval_s": 2}}')
    expected = StageOrder(compute=Compute(workers=1), monitoring=Monitoring(interval_s=2.0))
    assert read_order() == expected


@pytest.mark.parametrize("name", ["CAPILLARY_WORKERS", "CAPILLARY_STATE_DIR", "CAPILLARY_PROFILE", "DVC_EXP_NAME"])
def test_no_variable_changes_what_a_stage_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Settings are the host's to read."""
    monkeypatch.setenv(name, "1")
    assert read_order() == StageOrder()


def test_a_gate_by_hand_has_its_defaults() -> None:
    """Outside a container, any GPU, no store, a need of nothing."""
    gate = read_gate_runtime()
    assert (gate.gated, gate.gpu, gate.in_container, gate.store) == ("by-hand", "auto", False, None)
    assert gate.need == Need()


def test_a_gate_sees_its_part_and_the_variables_of_the_stage_it_is_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is the folder that holds the artifacts."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    (folder / "order.json").write_bytes(order_json(WHOLE))
    gate = read_gate_runtime()
    assert {name: getattr(gate, name) for name in vars(WHOLE.gate)} == vars(WHOLE.gate)
    assert (gate.in_container, gate.store) == (True, Path("/work/mlruns"))
    assert gate.variables["MLFLOW_TRACKING_USERNAME"] == "me"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"stge": "train"}, "unknown key `stge`; did you mean `stage`"),
        ({"compute": {"thread": 1}}, "[compute] unknown key `thread`; did you mean `threads`"),
        ({"compute": {"threads": "2"}}, "[compute] threads: "),
        ({"compute": {"threads": 0}}, "[compute] threads: "),
        ({"compute": {"cache": "disk"}}, "[compute] cache: "),
        ({"gate": {"place": "cluster"}}, "[gate] place: "),
        ({"gate": {"need": {"ram_gb": -1}}}, "[gate.need] ram_gb: "),
        ({"monitoring": {"memory_abort_gb": 0}}, "[monitoring] memory_abort_gb: "),
        ({"version": 2}, "version: "),
        ({"fingerprint": None}, "fingerprint: "),
        ([], "the whole file: "),
    ],
)
def test_what_is_no_order_is_refused_by_the_key(folder: Path, content: Any, named: str) -> None:
    """A host and a stage of different versions, or a file that someone wrote."""
    (folder / "order.json").write_text(json.dumps(content))
    with pytest.raises(ParamsError) as caught:
        read_order()
    assert named in caught.value.what
    assert caught.value.code == ExitCode.PARAMS
    assert "repeat the command" in caught.value.remedy


@pytest.mark.parametrize("cut", [0, 1, -2])
def test_an_order_that_is_cut_is_refused(folder: Path, cut: int) -> None:
    """Never half of it with the defaults for the rest."""
    (folder / "order.json").write_bytes(order_json(WHOLE)[:cut])
    with pytest.raises(ParamsError, match=r"order\.json was not written for this version"):
        read_runtime()


def test_a_name_that_leads_to_no_file_is_refused(folder: Path) -> None:
    """A folder, or a link to nothing, is not a reason to take the defaults."""
    (folder / "order.json").symlink_to(folder / "nothing")
    with pytest.raises(ParamsError, match="cannot be read"):
        read_order()
    (folder / "order.json").unlink()
    (folder / "order.json").mkdir()
    with pytest.raises(ParamsError, match="cannot be read"):
        read_gate_runtime()


def test_an_order_cannot_be_made_wrong() -> None:
    """The host's mistake shows on the host."""
    with pytest.raises(ValueError, match="processes"):
        replace(Compute(), processes=0)
