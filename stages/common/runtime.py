"""What the launcher tells a stage through the environment. The one place where a stage reads environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How to compute, as the hardware profile says (docs/compute.md). The defaults are those of a stage by hand.

    `device` is auto or cpu. `micro_batch` is how many patches go through the network at a time, None: the most that
    fit. `amp` and `compile` allow what they name, where it pays. `cache` is map or memory. `processes` is on how many
    of them one training runs.
    """

    profile: str = "by-hand"
    device: str = "auto"
    micro_batch: int | None = None
    amp: bool = True
    cache: str = "map"
    compile: bool = False
    processes: int = 1


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """Seconds between samples of the load; resident memory (GB, 10⁹ bytes) that stops the stage. None: never."""

    interval_s: float | None = 10.0
    memory_abort_gb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One run of one stage, as the launcher planned it.

    `workers` is how many processes or loader workers to use and `threads` how many threads a process may use: they
    decide how fast a result comes, never which. `state_dir` outlives a killed run and is keyed by `fingerprint`.
    `artifact_root` is set in embedded mode only, where no server chooses the place of artifacts. `cache_dir` is DVC's
    cache, to which deps may be links.
    """

    stage: str
    fingerprint: str
    data_fingerprint: str
    code_fingerprint: str
    state_dir: Path
    workers: int
    threads: int
    tracking_uri: str
    artifact_root: str | None
    experiment_name: str | None
    cache_dir: Path | None = None
    compute: Compute = Compute()
    monitoring: Monitoring = Monitoring()


def read_runtime() -> Runtime:
    """The runtime from the environment; the defaults serve a stage that is started by hand."""
    cores = os.cpu_count() or 1
    read = os.environ.get
    return Runtime(
        stage=read("CAPILLARY_STAGE", "by-hand"),
        fingerprint=read("CAPILLARY_FINGERPRINT", "by-hand"),
        data_fingerprint=read("CAPILLARY_DATA_FINGERPRINT", "by-hand"),
        code_fingerprint=read("CAPILLARY_CODE_FINGERPRINT", "by-hand"),
        state_dir=Path(read("CAPILLARY_STATE_DIR", ".capillary/state/by-hand")),
        workers=int(read("CAPILLARY_WORKERS", cores)),
        threads=int(read("CAPILLARY_THREADS", cores)),
        tracking_uri=read("MLFLOW_TRACKING_URI", "sqlite:///mlruns/mlflow.db"),
        artifact_root=read("CAPILLARY_ARTIFACT_ROOT"),
        experiment_name=read("DVC_EXP_NAME"),
        cache_dir=Path(cache) if (cache := read("CAPILLARY_CACHE_DIR")) else None,
        compute=_read_compute(),
        monitoring=_read_monitoring(),
    )


def _read_compute() -> Compute:
    read, usual = os.environ.get, Compute()
    micro_batch = read("CAPILLARY_MICRO_BATCH", "auto")
    return Compute(
        profile=read("CAPILLARY_PROFILE", usual.profile),
        device=read("CAPILLARY_DEVICE", usual.device),
        micro_batch=None if micro_batch == "auto" else int(micro_batch),
        amp=read("CAPILLARY_AMP", "auto") == "auto",
        cache=read("CAPILLARY_CACHE", usual.cache),
        compile=read("CAPILLARY_COMPILE", "off") == "auto",
        processes=int(read("CAPILLARY_PROCESSES", usual.processes)),
    )


def _read_monitoring() -> Monitoring:
    limit_gb = os.environ.get("CAPILLARY_MEMORY_ABORT_GB")
    interval_s = os.environ.get("CAPILLARY_MONITOR_INTERVAL_S", "10")
    return Monitoring(
        interval_s=None if interval_s == "off" else float(interval_s),
        memory_abort_gb=None if limit_gb is None else float(limit_gb),
    )


@dataclass(frozen=True, kw_only=True)
class GateRuntime:
    """One run of a gate, before the stage of the entry `gated` (`train@dice_ce-0`) in which it runs.

    `gpu` is none, auto or required. `store` is the folder of the embedded MLflow store, None where a server keeps runs.
    `variables` are all that the gate is given, which are those of the gated stage. `torch_cuda` is the CUDA of the
    torch in that stage's image (`cpu` without), None where the stage is no container.
    """

    gated: str
    gpu: str
    in_container: bool
    store: Path | None
    variables: Mapping[str, str]
    torch_cuda: str | None = None


def read_gate_runtime() -> GateRuntime:
    """The gate's runtime from the environment that the launcher made."""
    read = os.environ.get
    artifacts = read("CAPILLARY_ARTIFACT_ROOT")
    return GateRuntime(
        gated=read("CAPILLARY_GATED", "by-hand"),
        gpu=read("CAPILLARY_GPU", "auto"),
        in_container=read("CAPILLARY_PLACE") == "container",
        store=Path(artifacts).parent if artifacts else None,
        variables=dict(os.environ),
        torch_cuda=read("CAPILLARY_TORCH_CUDA"),
    )
