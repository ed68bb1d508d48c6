"""Faults that end a run: by name, how each is put into a project or a machine, and which check is asked then."""

import errno
from collections.abc import Callable, Iterable
from dataclasses import replace

from capillary.preflight.docker import check_docker, check_docker_gpus
from capillary.settings import ExecutorName
from stages.common.errors import ServiceError
from stages.common.preflight.check import Check
from stages.common.preflight.checks import gpu
from stages.common.preflight.checks.clock import check_clock
from stages.common.runtime import Need
from tests.support.machine import dead_port
from tests.support.tracking.mlflow_double import PAGE, UNKNOWN, CannedAnswer, experiment
from tests.unit.capillary.preflight import fault_makers as make
from tests.unit.capillary.preflight.fault_project import CARD, PARAMS, FaultProject

Inject = Callable[[FaultProject], Iterable[Check]]

FAULTS: dict[str, Inject] = {
    # params and files
    "unknown key": lambda bench: bench.set("training", foo=1),
    "unknown section": lambda bench: bench.set("trainig", max_epochs=3),
    "list as a name": lambda bench: bench.set("training", losses="dice_ce"),
    "number as text": lambda bench: bench.set("training", learning_rate="0.0001"),
    "value out of range": lambda bench: bench.set("evaluation", confidence=95),
    "unknown loss": lambda bench: bench.set("training", losses=["dice"]),
    "unknown network": lambda bench: bench.set("training", architecture="unett"),
    "unknown metric": lambda bench: bench.set("evaluation", metrics=["dcs"]),
    "fold that is not drawn": lambda bench: bench.set("training", folds=[3]),
    "fewer volumes than folds": lambda bench: bench.set("preprocess", max_volumes=2),
    "missing key": lambda bench: make.broken_file(bench, "params.yaml", "  batch_size: 2\n", ""),
    "params.yaml missing": lambda bench: make.removed_file(bench, "params.yaml"),
    "dvc.yaml missing": lambda bench: make.removed_file(bench, "dvc.yaml"),
    "thresholds missing": lambda bench: make.removed_file(bench, "configs/preflight.yaml"),
    "misspelt threshold": lambda bench: make.broken_file(bench, "configs/preflight.yaml", "max_skew_s", "max_skew"),
    "profiles missing": lambda bench: make.removed_file(bench, "configs/compute.yaml"),
    "broken profile": lambda bench: make.broken_file(bench, "configs/compute.yaml", "device: cpu", "device: tpu"),
    "access of a stage broken": lambda bench: make.broken_file(
        bench, "configs/stages.yaml", "pids: 4096", "pids: many"
    ),
    "wrong executor": lambda bench: make.settings(CAPILLARY_EXECUTOR="containers"),
    "unknown profile": lambda bench: make.settings(CAPILLARY_PROFILE="gpu_hihg"),
    "workers that are no number": lambda bench: make.settings(CAPILLARY_WORKERS="all"),
    # data
    "stack missing": make.removed_stack,
    "source without a table": make.empty_source,
    "empty archive": make.empty_archive,
    "source that is no archive": make.no_archive,
    "splits file missing": lambda bench: bench.folds(splits_file="none.json"),
    "splits file broken": lambda bench: make.splits(bench, "{folds"),
    "splits file of another form": lambda bench: make.splits(bench, '{"folds": {"train": []}}'),
    "splits file of lists in lists": lambda bench: make.splits(
        bench, '{"folds": [{"train": [["v0"]], "val": ["v1"]}]}', 1
    ),
    "splits file nested without end": lambda bench: make.splits(bench, "[" * 100_000),
    "splits file with other folds": lambda bench: make.splits(bench, '{"folds": [{"train": ["v0"], "val": ["v1"]}]}'),
    "splits of unknown volumes": make.split_of_unknown_volumes,
    "fewer groups than folds": make.few_groups,
    "held-out group that is not there": lambda bench: bench.folds(test_groups=["v99"]),
    "too few groups left": lambda bench: bench.folds(test_groups={"share": 0.9, "seed": 1}),
    "patch that cannot be halved": make.patch_of_odd_size,
    # machine
    "little ram": make.little_ram,
    "little ram for cells side by side": make.little_ram_for_many_cells,
    "small container": make.small_container,
    "full disk": make.full_disk,
    "read-only disk": lambda bench: bench.disk(errno.EROFS),
    "no permission": lambda bench: bench.disk(errno.EACCES),
    "quota used up": lambda bench: bench.disk(errno.EDQUOT),
    "table of files full": lambda bench: bench.disk(errno.ENOSPC),
    "small shared memory": make.small_shared_memory,
    "clock off": lambda bench: make.clock(900),
    "clock never set": lambda bench: [check_clock([], PARAMS.clock, now_s=0)],
    "package of another version": make.other_package,
    # GPU
    "no gpu": lambda bench: make.gpus(),
    "gpu full": lambda bench: make.gpus(replace(CARD, free_bytes=10**8)),
    "gpu too small for the patch": lambda bench: make.gpus(CARD, need=Need(gpu_gb=20, why="patches")),
    "old driver": lambda bench: make.gpus(replace(CARD, driver="470.10")),
    "torch without cuda": lambda bench: make.gpus(CARD, cuda="cpu"),
    "broken driver": lambda bench: [gpu.broken("mismatch", required=True)],
    "containers without gpu": lambda bench: [check_docker_gpus(bench.docker({}), [CARD], required=True)],
    # git and docker
    "no repository": lambda bench: make.git(bench),
    "no commit": lambda bench: make.git(bench, "init -q"),
    "git missing": make.git_missing,
    "git killed": make.git_lock,
    "daemon down": lambda bench: [
        check_docker(ServiceError("the daemon does not answer", remedy="start it"), ExecutorName.DOCKER, critical=True)
    ],
    "docker command missing": make.no_docker_command,
    "dockerfile missing": make.no_dockerfile,
    "no room for images": make.full_docker,
    # addresses and servers
    "tracking folder": lambda bench: make.address(bench, "file:///runs"),
    "page of the browser": lambda bench: make.address(bench, "http://h:5000/#/"),
    "address without scheme": lambda bench: make.address(bench, "h:5000"),
    "unknown scheme": lambda bench: make.address(bench, "htp://h:5000"),
    "server down": lambda bench: make.answered({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{dead_port()}"}),
    "experiment deleted": lambda bench: make.server(asked=experiment(lifecycle_stage="deleted")),
    "wrong login": lambda bench: make.server(asked=CannedAnswer(status=403)),
    "may not create": lambda bench: make.server(
        asked=CannedAnswer(status=404, body=UNKNOWN), write=CannedAnswer(status=403)
    ),
    "login page": lambda bench: make.server(asked=CannedAnswer(body=PAGE)),
    "bad gateway": lambda bench: make.server(asked=CannedAnswer(status=502, body=PAGE)),
    "old server": lambda bench: make.server(version=CannedAnswer(body="2.1.1")),
    "no registry": lambda bench: make.server(registry=CannedAnswer(status=404, body=PAGE)),
    "files in the server's folder": lambda bench: make.server(asked=experiment(artifact_location="/mlruns")),
    "certificate missing": lambda bench: make.answered(
        {"MLFLOW_TRACKING_URI": "https://h", "MLFLOW_TRACKING_SERVER_CERT_PATH": "/none.pem"}
    ),
    "login missing": lambda bench: make.environment("train", "", replace(make.bucket(""), status=401)),
    "store deleted": lambda bench: make.store(bench, "deleted"),
    "store damaged": make.damaged_store,
    "store read-only": make.read_only_store,
    "database driver missing": lambda bench: make.lacks(bench, "postgresql://db/x"),
    "client of the bucket missing": lambda bench: make.lacks(bench, "http://h", make.bucket("s3://b")),
    "keys of the bucket missing": lambda bench: make.environment("train", "", make.bucket("s3://b")),
    "keys of the source missing": lambda bench: make.environment("ingest", "s3://b/a"),
    "key file of the source missing": lambda bench: make.environment(
        "ingest", "gs://b/a", GOOGLE_APPLICATION_CREDENTIALS="/none.json"
    ),
    "object store down": lambda bench: make.http_status(503),
    "another program on the database's port": lambda bench: make.tcp(b"HTTP", "postgresql"),
    "listed service down": lambda bench: make.answered({}, f"tcp://127.0.0.1:{dead_port()}"),
}
