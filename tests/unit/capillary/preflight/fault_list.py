"""Faults that end a run: by name, how each is put into a project or a machine, and what preflight says of it."""

import email.utils
import errno
import http.server
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from capillary.preflight import run
from stages.common.machine import gpus
from tests.support.machine import dead_port, http_server, tcp_server
from tests.support.tracking.mlflow_double import PAGE, UNKNOWN, CannedAnswer, experiment
from tests.unit.capillary.preflight.fault_project import CARD, FaultProject

REFUSED = ""  # instead of a check: the project's files or settings are refused, and nothing is looked at
LOOPBACK = "http://127.0.0.1"


@dataclass(frozen=True)
class Fault:
    """`check` is the one that must fail, `says` a part of what it says or of its remedy."""

    inject: Callable[[FaultProject], Any]
    check: str
    says: str


def tracked(uri: str) -> Callable[[FaultProject], None]:
    return lambda bench: bench.variables.update(MLFLOW_TRACKING_URI=uri, CAPILLARY_TRACKING="required")


def served(**says: CannedAnswer) -> Callable[[FaultProject], None]:
    return lambda bench: bench.server(**says)


def setting(**variables: str) -> Callable[[FaultProject], None]:
    return lambda bench: bench.variables.update(variables)


def params(section: str, **values: object) -> Callable[[FaultProject], None]:
    return lambda bench: bench.set(section, **values)


def splits(folds: object, **values: object) -> Callable[[FaultProject], None]:
    return lambda bench: bench.folds(folds if isinstance(folds, str) else json.dumps({"folds": folds}), **values)


def edited(name: str, before: str, after: str) -> Callable[[FaultProject], None]:
    return lambda bench: bench.edit(name, before, after)


def gone(name: str) -> Callable[[FaultProject], None]:
    return lambda bench: bench.remove(name)


def of_source(bench: FaultProject, address: str, **variables: str) -> None:
    """A source that only the network has; DVC, which would ask for it, knows nothing of it."""
    bench.set("ingest", source=address)
    bench.offline()
    bench.variables |= variables


def little_ram(bench: FaultProject) -> None:
    bench.set("training", patch_voxels=[64, 512, 512], filters=[32, 64, 128, 256])
    bench.memory(4)


def few_groups(bench: FaultProject) -> None:
    bench.edit("samples/phantom/dataset.csv", "v1,g1", "v1,g0")


def two_spellings_of_a_group(bench: FaultProject) -> None:
    """Which ingest takes for one: too few to draw from."""
    bench.edit("samples/phantom/dataset.csv", "v0,g0", "v0,mo\u0308use  1")
    bench.edit("samples/phantom/dataset.csv", "v1,g1", "v1,m\u00f6use 1")


def no_dockerfile(bench: FaultProject) -> None:
    (bench.own_stages() / "Dockerfile").unlink()
    bench.docker()


def no_docker_command(bench: FaultProject) -> None:
    bench.docker()
    bench.patch.setattr(shutil, "which", lambda _: None)


def full_docker(bench: FaultProject) -> None:
    bench.docker({"DockerRootDir": str(bench.root)})
    bench.free(5)


def small_container(bench: FaultProject) -> None:
    bench.set("training", patch_voxels=[32, 256, 256])
    given = "resume: true\n  gpu: auto\n  memory_gb: "
    bench.edit("configs/stages.yaml", f"{given}null", f"{given}1")
    bench.docker()


def gpu_of_the_machine_alone(bench: FaultProject) -> None:
    bench.gpus(CARD)
    bench.docker()


def broken_driver(bench: FaultProject) -> None:
    def fail(_visible: object) -> None:
        raise gpus.DriverBrokenError("Driver/library version mismatch")

    bench.gpus()
    bench.patch.setattr(gpus, "find_devices", fail)


def other_package(bench: FaultProject) -> None:
    file = bench.own_stages() / "train/requirements.txt"
    file.write_text(f"pydantic=={version('pydantic')}.1\n")


def no_git(bench: FaultProject) -> None:
    shutil.rmtree(bench.root / ".git")


def no_commit(bench: FaultProject) -> None:
    no_git(bench)
    bench.git("init", "-q")


def conflict(bench: FaultProject) -> None:
    as_me = ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam")
    bench.git("checkout", "-qb", "mine")
    bench.edit("params.yaml", "batch_size: 2", "batch_size: 3")
    bench.git(*as_me, "mine")
    bench.git("checkout", "-q", "-")
    bench.edit("params.yaml", "batch_size: 2", "batch_size: 4")
    bench.git(*as_me, "theirs")
    os.system(f"cd '{bench.root}' && git merge -q mine >/dev/null 2>&1 && exit 1; git checkout -q --ours params.yaml")


def clock(bench: FaultProject, seconds: float) -> None:
    """A server whose clock is ahead."""
    date = lambda _self, _now=None: email.utils.formatdate(time.time() + seconds, usegmt=True)  # noqa: E731
    bench.patch.setattr(http.server.BaseHTTPRequestHandler, "date_time_string", date)
    bench.server()


def store(bench: FaultProject, stage: str) -> None:
    (bench.root / "mlruns").mkdir()
    database = sqlite3.connect(bench.root / "mlruns/mlflow.db")
    database.execute("create table experiments (experiment_id integer, name text, lifecycle_stage text)")
    database.execute("insert into experiments values (1, 'capillary', ?)", (stage,))
    database.commit()
    database.close()


def damaged_store(bench: FaultProject) -> None:
    (bench.root / "mlruns").mkdir()
    (bench.root / "mlruns/mlflow.db").write_bytes(b"torn" * 1000)


def store_below_a_file(bench: FaultProject) -> None:
    (bench.root / "mlruns").touch()


def database_of(bench: FaultProject, answer: bytes) -> None:
    port = bench.ends.enter_context(tcp_server(answer))
    tracked(f"postgresql://127.0.0.1:{port}/x")(bench)


def listed_database(bench: FaultProject) -> None:
    port = bench.ends.enter_context(tcp_server(b"HTTP"))
    bench.listed(f"postgresql://127.0.0.1:{port}/x")


def bucket_without_client(bench: FaultProject) -> None:
    bench.server(asked=experiment(artifact_location="s3://b"))
    bench.patch.setattr(run, "installed", lambda _: False)


def object_store(bench: FaultProject) -> None:
    url = bench.ends.enter_context(http_server(503))
    of_source(bench, "s3://b/a", AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")


FAULTS: dict[str, Fault] = {
    # params and files
    "unknown key": Fault(params("training", foo=1), "params", "foo"),
    "unknown section": Fault(params("trainig", max_epochs=3), "params", "trainig"),
    "list as a name": Fault(params("training", losses="dice_ce"), "params", "losses"),
    "number as text": Fault(params("training", learning_rate="0.0001"), "params", "learning_rate"),
    "value out of range": Fault(params("evaluation", confidence=95), "params", "confidence"),
    "unknown loss": Fault(params("training", losses=["dice"]), "params", "dice"),
    "unknown network": Fault(params("training", architecture="unett"), "params", "unett"),
    "unknown metric": Fault(params("evaluation", metrics=["dcs"]), "params", "dcs"),
    "fold that is not drawn": Fault(params("training", folds=[3]), "params", "folds"),
    "missing key": Fault(edited("params.yaml", "  batch_size: 2\n", ""), "params", "batch_size"),
    "tab in params.yaml": Fault(edited("params.yaml", "  batch_size: 2", "\tbatch_size: 2"), REFUSED, "tab"),
    "params.yaml missing": Fault(gone("params.yaml"), REFUSED, "git checkout"),
    "dvc.yaml missing": Fault(gone("dvc.yaml"), REFUSED, "git checkout"),
    "thresholds missing": Fault(gone("configs/preflight.yaml"), REFUSED, "git checkout"),
    "misspelt threshold": Fault(edited("configs/preflight.yaml", "max_skew_s", "max_skew"), REFUSED, "max_skew"),
    "profiles missing": Fault(gone("configs/compute.yaml"), REFUSED, "git checkout"),
    "broken profile": Fault(edited("configs/compute.yaml", "device: cpu", "device: tpu"), REFUSED, "device"),
    "access of a stage broken": Fault(edited("configs/stages.yaml", "pids: 4096", "pids: many"), REFUSED, "pids"),
    "wrong executor": Fault(setting(CAPILLARY_EXECUTOR="containers"), REFUSED, "CAPILLARY_EXECUTOR"),
    "unknown profile": Fault(setting(CAPILLARY_PROFILE="gpu_hihg"), REFUSED, "gpu_hihg"),
    "workers that are no number": Fault(setting(CAPILLARY_WORKERS="all"), REFUSED, "CAPILLARY_WORKERS"),
    # data
    "source that is not there": Fault(params("ingest", source="samples/none"), "data", "samples/none"),
    "stack missing": Fault(gone("samples/phantom/v1.tif"), "source", "v1.tif"),
    "table without a column": Fault(edited("samples/phantom/dataset.csv", "image", "imagine"), "source", "dataset.csv"),
    "source without a table": Fault(lambda bench: bench.source("empty"), "source", "dataset.csv"),
    "empty archive": Fault(lambda bench: bench.source("stacks.zip", ""), "source", "empty"),
    "source that is no archive": Fault(lambda bench: bench.source("stacks.rar", "x"), "source", "not an archive"),
    "splits file missing": Fault(params("preprocess", splits_file="none.json"), "folds", "none.json"),
    "splits file broken": Fault(splits("{folds"), "folds", "mine.json"),
    "splits file of another form": Fault(splits({"train": []}), "folds", "not a list"),
    "splits file nested without end": Fault(splits("[" * 100_000), "folds", "mine.json"),
    "splits file with other folds": Fault(splits([{"train": ["v0"], "val": ["v1"]}]), "folds", "1 fold,"),
    "splits of unknown volumes": Fault(splits([{"train": ["v0"], "val": ["v9"]}] * 3), "folds", "v9"),
    "fold without volumes": Fault(splits([{"train": [], "val": ["v1"]}] * 3), "folds", "train is empty"),
    "volume validated in two folds": Fault(
        splits([{"train": ["v0"], "val": ["v1"]}] * 3), "folds", "validated in more than one fold: v1"
    ),
    "volume in train and val": Fault(splits([{"train": ["v0"], "val": ["v0"]}] * 3), "folds", "in both train and val"),
    "fewer volumes than folds": Fault(params("preprocess", max_volumes=2), "params", "max_volumes"),
    "fewer groups than folds": Fault(few_groups, "folds", "2 groups"),
    "groups that look the same": Fault(two_spellings_of_a_group, "folds", "2 groups"),
    "held-out group that is not there": Fault(params("preprocess", test_groups=["v99"]), "folds", "v99"),
    "too few groups left": Fault(params("preprocess", test_groups={"share": 0.9, "seed": 1}), "folds", "groups"),
    "patch that cannot be halved": Fault(params("training", patch_voxels=[5, 30, 30]), "network", "patch"),
    # machine
    "little ram": Fault(little_ram, "ram", "4.00 GB"),
    "small container": Fault(small_container, "memory of train", "memory_gb"),
    "full disk": Fault(lambda bench: bench.free(0.01), "disk of workspace", "free"),
    "read-only disk": Fault(lambda bench: bench.disk(errno.EROFS), "disk of cache", "Read-only"),
    "table of files full": Fault(lambda bench: bench.disk(errno.ENOSPC), "disk of cache", "space"),
    "small shared memory": Fault(lambda bench: bench.free(0.01), "shared memory", "/dev/shm"),
    "clock off": Fault(partial(clock, seconds=900), "clock", "behind"),
    "package of another version": Fault(other_package, "packages", "pydantic"),
    # GPU
    "no gpu": Fault(lambda bench: bench.gpus(), "gpu", "none"),
    "gpu full": Fault(lambda bench: bench.gpus(replace(CARD, free_bytes=10**8)), "gpu memory", "0.10 GB"),
    "old driver": Fault(lambda bench: bench.gpus(replace(CARD, driver="470.10")), "gpu driver", "470.10"),
    "torch without cuda": Fault(lambda bench: bench.gpus(CARD, cuda="cpu"), "gpu", "torch has no CUDA"),
    "broken driver": Fault(broken_driver, "gpu", "mismatch"),
    "containers without gpu": Fault(gpu_of_the_machine_alone, "docker gpu", "nvidia-ctk"),
    # git and docker
    "no repository": Fault(no_git, "git", "git init"),
    "no commit": Fault(no_commit, "git", "no commit"),
    "git missing": Fault(lambda bench: bench.patch.setenv("PATH", str(bench.root)), "git", "install Git"),
    "git killed": Fault(lambda bench: (bench.root / ".git/index.lock").touch(), "git", "index.lock"),
    "merge with conflicts": Fault(conflict, "git", "conflicts"),
    "daemon down": Fault(
        setting(CAPILLARY_EXECUTOR="docker", DOCKER_HOST="unix:///nonexistent/docker.sock"), "docker", "start"
    ),
    "docker command missing": Fault(no_docker_command, "images", "no docker command"),
    "dockerfile missing": Fault(no_dockerfile, "images", "Dockerfile"),
    "no room for images": Fault(full_docker, "disk of docker", "5.00 GB"),
    # addresses and servers
    "tracking folder": Fault(tracked("file:///runs"), "mlflow", "file:///runs"),
    "page of the browser": Fault(tracked("http://h:5000/#/"), "mlflow", "/#/"),
    "address without scheme": Fault(tracked("h:5000"), "mlflow", "h:5000"),
    "unknown scheme": Fault(tracked("htp://h:5000"), "mlflow", "htp://"),
    "server down": Fault(lambda bench: tracked(f"{LOOPBACK}:{dead_port()}")(bench), "mlflow", "does not answer"),
    "experiment deleted": Fault(served(asked=experiment(lifecycle_stage="deleted")), "mlflow", "restore"),
    "wrong login": Fault(served(asked=CannedAnswer(status=403)), "mlflow", "credentials"),
    "may not create": Fault(
        served(asked=CannedAnswer(status=404, body=UNKNOWN), write=CannedAnswer(status=403)), "mlflow", "written"
    ),
    "login page": Fault(served(asked=CannedAnswer(body=PAGE)), "mlflow", "web page"),
    "bad gateway": Fault(served(asked=CannedAnswer(status=502, body=PAGE)), "mlflow", "502"),
    "old server": Fault(served(version=CannedAnswer(body="2.1.1")), "mlflow", "MLflow 2.1"),
    "no registry": Fault(served(registry=CannedAnswer(status=404, body=PAGE)), "mlflow", "registry"),
    "files in the server's folder": Fault(
        served(asked=experiment(artifact_location="/mlruns")), "mlflow", "artifacts-destination"
    ),
    "login missing": Fault(served(asked=CannedAnswer(status=401)), "environment of train", "MLFLOW_TRACKING_USERNAME"),
    "certificate missing": Fault(
        lambda bench: [tracked("https://localhost")(bench), setting(MLFLOW_TRACKING_SERVER_CERT_PATH="/no.pem")(bench)],
        "mlflow",
        "/no.pem",
    ),
    "store deleted": Fault(partial(store, stage="deleted"), "mlflow", "restore"),
    "store damaged": Fault(damaged_store, "mlflow", "damaged"),
    "store that cannot be made": Fault(store_below_a_file, "mlflow", "is a file"),
    "database driver missing": Fault(partial(database_of, answer=b"S"), "package for postgresql://", "requirements"),
    "client of the bucket missing": Fault(bucket_without_client, "package for s3://", "requirements"),
    "keys of the bucket missing": Fault(
        served(asked=experiment(artifact_location="s3://b")), "environment of train", "AWS_ACCESS_KEY_ID"
    ),
    "keys of the source missing": Fault(
        partial(of_source, address="s3://b/a"), "environment of ingest", "AWS_ACCESS_KEY_ID"
    ),
    "key file of the source missing": Fault(
        partial(of_source, address="gs://b/a", GOOGLE_APPLICATION_CREDENTIALS="/none.json"),
        "environment of ingest",
        "does not exist",
    ),
    "variable that is listed missing": Fault(
        edited("configs/preflight.yaml", "preprocess: []", "preprocess: [LAB_KEY]"),
        "environment of preprocess",
        "LAB_KEY",
    ),
    "object store down": Fault(object_store, "s3", "503"),
    "another program on the database's port": Fault(listed_database, "service 127.0.0.1", "PostgreSQL"),
    "listed service down": Fault(
        lambda bench: bench.listed(f"tcp://127.0.0.1:{dead_port()}"), "service 127.0.0.1", "does not answer"
    ),
}
