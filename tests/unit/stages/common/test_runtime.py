"""What the launcher passes to a stage through its environment, and what a stage by hand has instead."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from stages.common.runtime import Compute, Monitoring, read_gate_runtime, read_runtime

BY_HAND = {
    "stage": "by-hand",
    "fingerprint": "by-hand",
    "data_fingerprint": "by-hand",
    "code_fingerprint": "by-hand",
    "state_dir": Path(".capillary/state/by-hand"),
    "workers": 6,
    "threads": 6,
    "tracking_uri": "sqlite:///mlruns/mlflow.db",
    "artifact_root": None,
    "experiment_name": None,
    "cache_dir": None,
}


@pytest.fixture(autouse=True)
def _an_environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("CAPILLARY_", "MLFLOW_", "DVC_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)


def _set(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_stage_that_is_started_by_hand_has_every_default() -> None:
    """All cores, the embedded store, no profile, no memory limit."""
    runtime = asdict(read_runtime())
    assert runtime.pop("compute") == asdict(Compute()) == {
        "profile": "by-hand",
        "device": "auto",
        "micro_batch": None,
        "amp": True,
        "cache": "map",
        "compile": False,
        "processes": 1,
    }  # fmt: skip
    assert runtime.pop("monitoring") == asdict(Monitoring()) == {"interval_s": 10.0, "memory_abort_gb": None}
    assert runtime == BY_HAND


def test_where_the_cores_cannot_be_counted_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.cpu_count` may not know."""
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert (read_runtime().workers, read_runtime().threads) == (1, 1)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("CAPILLARY_STAGE", "train@warp-1", "stage", "train@warp-1"),
        ("CAPILLARY_FINGERPRINT", "f", "fingerprint", "f"),
        ("CAPILLARY_DATA_FINGERPRINT", "d", "data_fingerprint", "d"),
        ("CAPILLARY_CODE_FINGERPRINT", "c", "code_fingerprint", "c"),
        ("CAPILLARY_STATE_DIR", "/tmp/state", "state_dir", Path("/tmp/state")),
        ("CAPILLARY_CACHE_DIR", "/tmp/cache", "cache_dir", Path("/tmp/cache")),
        ("CAPILLARY_WORKERS", "3", "workers", 3),
        ("CAPILLARY_THREADS", "2", "threads", 2),
        ("MLFLOW_TRACKING_URI", "http://h:5000", "tracking_uri", "http://h:5000"),
        ("CAPILLARY_ARTIFACT_ROOT", "/tmp/artifacts", "artifact_root", "/tmp/artifacts"),
        ("DVC_EXP_NAME", "vesselnn", "experiment_name", "vesselnn"),
        ("CAPILLARY_PROFILE", "gpu-small", "compute.profile", "gpu-small"),
        ("CAPILLARY_DEVICE", "cpu", "compute.device", "cpu"),
        ("CAPILLARY_MICRO_BATCH", "4", "compute.micro_batch", 4),
        ("CAPILLARY_MICRO_BATCH", "auto", "compute.micro_batch", None),
        ("CAPILLARY_AMP", "off", "compute.amp", False),
        ("CAPILLARY_AMP", "auto", "compute.amp", True),
        ("CAPILLARY_CACHE", "memory", "compute.cache", "memory"),
        ("CAPILLARY_COMPILE", "auto", "compute.compile", True),
        ("CAPILLARY_COMPILE", "off", "compute.compile", False),
        ("CAPILLARY_PROCESSES", "2", "compute.processes", 2),
        ("CAPILLARY_MONITOR_INTERVAL_S", "2.5", "monitoring.interval_s", 2.5),
        ("CAPILLARY_MONITOR_INTERVAL_S", "off", "monitoring.interval_s", None),
        ("CAPILLARY_MEMORY_ABORT_GB", "1.5", "monitoring.memory_abort_gb", 1.5),
    ],
)
def test_each_variable_sets_its_field_and_no_other(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: Any
) -> None:
    """As a number, a path or a switch; compared with the runtime of a stage by hand."""
    before = asdict(read_runtime())
    monkeypatch.setenv(variable, text)
    after = asdict(read_runtime())
    *section, name = field.split(".")
    changed = after[section[0]] if section else after
    assert changed[name] == value
    assert type(changed[name]) is type(value)
    former = before[section[0]] if section else before
    changed[name] = former[name]
    assert after == before


def test_a_gate_by_hand_has_its_defaults() -> None:
    """Outside a container, any GPU, no store."""
    gate = read_gate_runtime()
    assert (gate.gated, gate.gpu, gate.in_container, gate.store) == ("by-hand", "auto", False, None)


def test_a_gate_sees_the_variables_of_the_stage_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is the folder that holds the artifacts."""
    variables = {
        "CAPILLARY_GATED": "train@warp-1",
        "CAPILLARY_GPU": "required",
        "CAPILLARY_PLACE": "container",
        "CAPILLARY_ARTIFACT_ROOT": "/work/mlruns/artifacts",
    }
    _set(monkeypatch, variables)
    gate = read_gate_runtime()
    assert (gate.gated, gate.gpu, gate.in_container, gate.store) == (
        "train@warp-1",
        "required",
        True,
        Path("/work/mlruns"),
    )
    assert variables.items() <= gate.variables.items()
    monkeypatch.setenv("CAPILLARY_PLACE", "process")
    assert not read_gate_runtime().in_container
