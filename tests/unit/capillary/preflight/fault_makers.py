"""How faults are put into a project or a machine; each returns the checks that must see it."""

import contextlib
import json
import os
import shutil
import sqlite3
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

from capillary.params_file import check_params, read_params_file
from capillary.preflight.docker import check_docker_disk
from capillary.preflight.git import check_git
from capillary.preflight.need import check_container_limits, check_images, find_need
from capillary.preflight.run import read_preflight
from capillary.preflight.source import check_source
from capillary.settings import read_settings
from stages.common.machine.gpus import Gpu
from stages.common.preflight.check import Check
from stages.common.preflight.checks import gpu
from stages.common.preflight.checks.clients import check_clients
from stages.common.preflight.checks.clock import check_clock
from stages.common.preflight.checks.disk import check_disk, check_shared_memory
from stages.common.preflight.checks.embedded_store import check_address
from stages.common.preflight.checks.environment import check_environment
from stages.common.preflight.checks.packages import check_packages
from stages.common.preflight.checks.ram import check_ram
from stages.common.preflight.checks.service import Answer, Kind, Service
from stages.common.preflight.checks.services import ask_all, check_services, services_of
from stages.common.runtime import Need
from tests.support.machine import http_server, tcp_server
from tests.support.parts import REPOSITORY
from tests.support.tracking.mlflow_double import CannedAnswer, mlflow_double
from tests.unit.capillary.preflight.fault_project import ONCE, PARAMS, FaultProject


def address(bench: FaultProject, uri: str) -> list[Check]:
    return check_address(bench.root, {"MLFLOW_TRACKING_URI": uri}, critical=True)


def answered(variables: dict[str, str], *listed: str) -> list[Check]:
    return list(
        check_services(ask_all(services_of(variables, listed), variables, ONCE), critical=True, tracking="required")
    )


def server(**says: CannedAnswer) -> list[Check]:
    with mlflow_double(**says) as (url, _):
        return answered({"MLFLOW_TRACKING_URI": url})


def source(bench: FaultProject, name: str) -> list[Check]:
    return [check_source(bench.root, name, critical=True)]


def environment(stage: str, source: str = "", *answers: Answer, **variables: str) -> list[Check]:
    where = Path("/nonexistent")
    return [check_environment(stage, variables, PARAMS.environment, source=source, answers=answers, top=where)]


def lacks(bench: FaultProject, uri: str, *answers: Answer) -> list[Check]:
    return list(check_clients({"MLFLOW_TRACKING_URI": uri}, answers, lambda _: False, critical=True))


def gpus(*devices: Gpu, cuda: str = "13.0", need: Need | None = None) -> list[Check]:
    return gpu.check_gpu(devices, PARAMS.gpu, cuda, required=True, need=need or Need())


def removed_stack(bench: FaultProject) -> list[Check]:
    (bench.root / "samples/phantom/v1.tif").unlink()
    return source(bench, "samples/phantom")


def empty_source(bench: FaultProject) -> list[Check]:
    (bench.root / "samples/empty").mkdir()
    return source(bench, "samples/empty")


def empty_archive(bench: FaultProject) -> list[Check]:
    (bench.root / "stacks.zip").touch()
    return source(bench, "stacks.zip")


def no_archive(bench: FaultProject) -> list[Check]:
    (bench.root / "stacks.rar").write_text("x")
    return source(bench, "stacks.rar")


def splits(bench: FaultProject, content: str, num_folds: int = 2) -> list[Check]:
    (bench.root / "mine.json").write_text(content)
    bench.set("training", folds=[0])
    return bench.folds(splits_file="mine.json", num_folds=num_folds)


def split_of_unknown_volumes(bench: FaultProject) -> list[Check]:
    folds = [{"train": ["v0"], "val": ["v1"]}, {"train": ["v1"], "val": ["v9"]}]
    return splits(bench, json.dumps({"folds": folds}))


def few_groups(bench: FaultProject) -> list[Check]:
    bench.edit("samples/phantom/dataset.csv", "v1,g1", "v1,g0")
    return bench.folds()


def patch_of_odd_size(bench: FaultProject) -> list[Check]:
    bench.set("training", patch_voxels=[5, 30, 30])
    return bench.folds()


def broken_file(bench: FaultProject, name: str, before: str, after: str) -> list[Check]:
    bench.edit(name, before, after)
    return checked_files(bench)


def removed_file(bench: FaultProject, name: str) -> list[Check]:
    (bench.root / name).unlink()
    return checked_files(bench)


def checked_files(bench: FaultProject) -> list[Check]:
    """What `capillary preflight` reads first: its own thresholds, the params, each stage's access, the profiles."""
    read_preflight(bench.root)
    check_params(bench.root)
    bench.need()
    return list(check_container_limits(bench.root, PARAMS, Need(ram_gb=0.1)))


def settings(**variables: str) -> list[Check]:
    found = read_settings(Path("/nowhere"), variables)
    find_need(REPOSITORY, found, read_params_file(REPOSITORY), (), None, side_by_side=False)
    return []


def little_ram(bench: FaultProject) -> list[Check]:
    need = bench.need(patch_voxels=[64, 512, 512], filters=[32, 64, 128, 256])
    return [check_ram(4e9, PARAMS.ram, need)]


def little_ram_for_many_cells(bench: FaultProject) -> list[Check]:
    one, many = bench.need(patch_voxels=[64, 256, 256]), bench.need(side_by_side=True, patch_voxels=[64, 256, 256])
    assert many.ram_gb >= one.ram_gb
    return [check_ram(one.ram_gb * 0.99e9, PARAMS.ram, many)]


def small_container(bench: FaultProject) -> list[Check]:
    bench.edit(
        "configs/stages.yaml",
        "resume: true\n  gpu: auto\n  memory_gb: null",
        "resume: true\n  gpu: auto\n  memory_gb: 1",
    )
    return list(check_container_limits(bench.root, PARAMS, Need(ram_gb=9)))


def no_docker_command(bench: FaultProject) -> list[Check]:
    bench.patch.setattr(shutil, "which", lambda _: None)
    return [check_images(bench.root, read_settings(bench.root, {}), bench.docker({}), critical=True)]


def no_dockerfile(bench: FaultProject) -> list[Check]:
    shutil.rmtree(bench.root / "stages")
    return [check_images(bench.root, read_settings(bench.root, {}), bench.docker({}), critical=True)]


def full_docker(bench: FaultProject) -> list[Check]:
    daemon = bench.docker({"DockerRootDir": str(bench.root)})
    settings, params = read_settings(bench.root, {}), read_params_file(bench.root)
    need = find_need(bench.root, settings, params, (), daemon, side_by_side=False)
    assert need.docker_gb > PARAMS.disk.min_free_docker_gb
    free = SimpleNamespace(f_bavail=5 * 10**9, f_frsize=1)
    bench.patch.setattr(os, "statvfs", lambda _: free)
    return check_docker_disk(daemon, PARAMS.disk, need)


def full_disk(bench: FaultProject) -> list[Check]:
    bench.patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    return [check_disk("workspace", bench.root, 1, "free space", critical=True)]


def small_shared_memory(bench: FaultProject) -> list[Check]:
    bench.patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=64 << 20, f_frsize=1))
    return [check_shared_memory(PARAMS.shared_memory, bench.root, Need(shared_memory_gb=0.5, why="8 workers"))]


def git(bench: FaultProject, *commands: str) -> list[Check]:
    for command in commands:
        assert os.system(f"cd {bench.root} && git -c user.name=a -c user.email=a@b {command} >/dev/null 2>&1") == 0
    return [check_git(bench.root, critical=True)]


def git_lock(bench: FaultProject) -> list[Check]:
    git(bench, "init -q", "add params.yaml", "commit -qm a")
    (bench.root / ".git/index.lock").touch()
    return [check_git(bench.root, critical=True)]


def git_missing(bench: FaultProject) -> list[Check]:
    bench.patch.setenv("PATH", str(bench.root))
    return [check_git(bench.root, critical=True)]


def store(bench: FaultProject, stage: str) -> list[Check]:
    (bench.root / "mlruns").mkdir()
    with contextlib.closing(sqlite3.connect(bench.root / "mlruns/mlflow.db")) as database:
        database.execute("create table experiments (experiment_id integer, name text, lifecycle_stage text)")
        database.execute("insert into experiments values (1, 'capillary', ?)", (stage,))
        database.commit()
    return check_address(bench.root, {}, critical=True)


def damaged_store(bench: FaultProject) -> list[Check]:
    (bench.root / "mlruns").mkdir()
    (bench.root / "mlruns/mlflow.db").write_bytes(b"torn" * 1000)
    return check_address(bench.root, {}, critical=True)


def read_only_store(bench: FaultProject) -> list[Check]:
    bench.patch.setattr(os, "access", lambda _path, _mode: False)
    return check_address(bench.root, {}, critical=True)


def other_package(bench: FaultProject) -> list[Check]:
    (bench.root / "requirements.txt").write_text(f"pydantic=={version('pydantic')}.1\n")
    return [check_packages([bench.root / "requirements.txt"], critical=True)]


def clock(seconds_off: float) -> list[Check]:
    service = Service(kind=Kind.HTTP, url="http://h")
    return [check_clock([Answer(service=service, fault="", ahead_s=seconds_off)], PARAMS.clock, now_s=1.8e9)]


def bucket(place: str) -> Answer:
    return Answer(service=Service(kind=Kind.MLFLOW, url="http://h"), fault="", artifacts=place)


def tcp(answer: bytes, kind: str) -> list[Check]:
    with tcp_server(answer) as port:
        return answered({}, f"{kind}://127.0.0.1:{port}/x")


def http_status(status: int) -> list[Check]:
    with http_server(status) as url:
        return answered({"AWS_ENDPOINT_URL": url})
