"""The provenance of a stage's run: the host's half from its order, this interpreter's half, and where both are kept."""

import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from stages.common.machine.cores import allowed_cores
from stages.common.machine.cpu import cpu_flags, cpu_model
from stages.common.provenance import machine
from stages.common.provenance.record import (
    FOLDER,
    PARAMS,
    RECORD,
    Computing,
    Machine,
    ProvenanceRecord,
    Software,
    record_bytes,
    short_tags,
)
from stages.common.runtime import Runtime
from stages.common.tracking.runs import TrackedRun

# params of these sections decide the data; a stage after them does not see them
_SECTIONS = ("ingest", "preprocess")


def log_record(run: TrackedRun, runtime: Runtime, computing: Computing) -> None:
    """Leave the record and the host's files as artifacts of `run`, with short tags and the params of the data."""
    run.set_tags(short_tags(runtime.provenance))
    handed = _handed(runtime)
    run.log_params(_data_params(handed))
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / RECORD
        record.write_bytes(record_bytes(describe(runtime, computing)))
        for file in (record, *handed):
            run.log_file(file, FOLDER)


def describe(runtime: Runtime, computing: Computing) -> ProvenanceRecord:
    """The record of the stage that `runtime` describes and that computes as `computing` says."""
    return ProvenanceRecord(
        stage=runtime.stage,
        fingerprint=runtime.fingerprint,
        data_fingerprint=runtime.data_fingerprint,
        code_fingerprint=runtime.code_fingerprint,
        host=None if runtime.provenance is None else replace(runtime.provenance, folder=None),
        machine=_machine(computing.device),
        software=_software(),
        computing=computing,
    )


def _machine(device: str) -> Machine:
    gpus = range(torch.cuda.device_count()) if device == "cuda" else ()
    return Machine(
        system=machine.system(),
        cpu=cpu_model() or platform.machine(),
        cpu_flags=cpu_flags(),
        cores=allowed_cores()[0],
        devices=tuple(torch.cuda.get_device_name(number) for number in gpus),
    )


def _software() -> Software:
    return Software(
        python=machine.python(),
        packages=machine.packages(),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda or "cpu",
        kernels=torch.backends.cpu.get_cpu_capability(),
    )


def _handed(runtime: Runtime) -> list[Path]:
    """The host's files."""
    folder = None if runtime.provenance is None else runtime.provenance.folder
    return [] if folder is None or not folder.is_dir() else sorted(file for file in folder.iterdir() if file.is_file())


def _data_params(files: list[Path]) -> dict[str, object]:
    """What decided the data, by dotted keys."""
    file = next((each for each in files if each.name == PARAMS), None)
    tree = {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8"))
    sections = {name: tree[name] for name in _SECTIONS if isinstance(tree, dict) and name in tree}
    return dict(_leaves(sections))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
