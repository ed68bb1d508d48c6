"""A healthy project on a healthy machine, to put faults into and then to run the whole preflight on."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from capillary.executors.container.execute import ContainerExecutor
from capillary.params_file import read_params_file
from capillary.preflight import data, run
from capillary.preflight import need as need_module
from capillary.preflight.docker import Daemon
from capillary.settings import Settings, read_settings
from stages.common.machine import gpus
from stages.common.machine.gpus import Gpu
from stages.common.preflight.check import Report
from stages.common.preflight.checks import gpu, ram, swap
from tests.support.parts import REPOSITORY
from tests.support.tracking.mlflow_double import CannedAnswer, mlflow_double

CARD = Gpu(index=0, uuid="GPU-0", name="RTX", memory_bytes=8 * 10**9, free_bytes=7 * 10**9, driver="580.65.06")
FILES = (
    "constraints.txt",
    "dvc.yaml",
    "params.yaml",
    "configs/stages.yaml",
    "configs/compute.yaml",
    "configs/preflight.yaml",
)
HEAD = "id,group,image,label,spacing_z_um,spacing_y_um,spacing_x_um"
_ONE_AT_A_TIME = threading.Lock()  # DVC in this process; preflight asks it from several threads
_ASKED: dict[tuple[object, ...], "subprocess.CompletedProcess[str]"] = {}


@dataclass(kw_only=True)
class FaultProject:
    """`root` is the project, `variables` its environment. `ends` keeps servers alive until the test is over."""

    root: Path
    patch: pytest.MonkeyPatch
    ends: contextlib.ExitStack
    variables: dict[str, str] = field(default_factory=lambda: {"CAPILLARY_EXECUTOR": "process"})
    require_gpu: bool = False

    def preflight(self) -> Report:
        """What `capillary preflight` does here, in full."""
        return run.run_preflight(self.root, read_settings(self.root, self.variables), require_gpu=self.require_gpu)

    def set(self, section: str, **values: object) -> None:
        """Other params."""
        params = read_params_file(self.root)
        params.setdefault(section, {}).update(values)
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace text in a file."""
        text = (self.root / name).read_text()
        assert before in text
        (self.root / name).write_text(text.replace(before, after))

    def remove(self, name: str) -> None:
        """A file is not there."""
        (self.root / name).unlink()

    def folds(self, content: str, **values: object) -> None:
        """A splits file with `content`."""
        (self.root / "mine.json").write_text(content)
        self.set("preprocess", splits_file="mine.json", **values)

    def source(self, name: str, content: str | None = None) -> None:
        """Another source: a file with `content`, or an empty folder."""
        if content is None:
            (self.root / name).mkdir()
        else:
            (self.root / name).write_text(content)
        self.set("ingest", source=name)

    def own_stages(self) -> Path:
        """The project's own copy of the stages' code, which it shares with the others before."""
        shared = (self.root / "stages").resolve()
        (self.root / "stages").unlink()
        shutil.copytree(shared, self.root / "stages")
        return self.root / "stages"

    def git(self, *words: str) -> None:
        """A command of Git in the project."""
        subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True)

    def server(self, **says: CannedAnswer) -> None:
        """A tracking server that must answer, with a fault in it."""
        url, _ = self.ends.enter_context(mlflow_double(**says))
        self.variables |= {"MLFLOW_TRACKING_URI": url, "CAPILLARY_TRACKING": "required"}

    def listed(self, url: str) -> None:
        """One more address that must answer."""
        self.edit("configs/preflight.yaml", "services: []", f"services: ['{url}']")

    def offline(self) -> None:
        """DVC has nothing to say, as it would of a source that needs a network."""
        self.patch.setattr(data, "_run", lambda _root, *words: subprocess.CompletedProcess(words, 0, "{}", ""))

    def free(self, gigabytes: float) -> None:
        """Every disk, memory disks too, has this much left."""
        space = SimpleNamespace(f_bavail=int(gigabytes * 10**6), f_frsize=1000)
        self.patch.setattr(os, "statvfs", lambda _: space)

    def disk(self, number: int) -> None:
        """A disk on which a write ends with the error `number`."""

        def refuse(dir: Path) -> None:
            raise OSError(number, os.strerror(number))

        self.patch.setattr(tempfile, "TemporaryFile", refuse)

    def memory(self, gigabytes: float) -> None:
        """What is available of RAM."""
        self.patch.setattr(ram, "available_bytes", lambda: gigabytes * 1e9)

    def gpus(self, *devices: Gpu, cuda: str = "13.0") -> None:
        """GPUs of this machine, the CUDA of its torch; one is required."""
        self.require_gpu = True
        self.patch.setattr(gpus, "find_devices", lambda _: devices)
        self.patch.setattr(gpu, "torch_cuda", lambda _: cuda)

    def docker(self, info: Mapping[str, Any] | None = None, *given: Gpu) -> None:
        """A daemon that answers, has no image and gives the GPUs `given` to containers."""
        self.variables["CAPILLARY_EXECUTOR"] = "docker"
        daemon = Daemon(api=None, info={"ServerVersion": "29.1", **(info or {})}, gpus=given)
        self.patch.setattr(run, "find_daemon", lambda _: daemon)
        self.patch.setattr(run, "inspect_own", lambda _: {"Id": "0"})
        self.patch.setattr(need_module, "is_built", lambda _api, _tag: False)
        self.patch.setattr(need_module, "ContainerExecutor", partial(_executor, given))


def _executor(given: tuple[Gpu, ...], settings: Settings) -> ContainerExecutor:
    """The executor as it is, with the daemon's answer about GPUs."""
    executor = ContainerExecutor.__new__(ContainerExecutor)
    vars(executor).update(_settings=settings, _gpus=given, _find_gpus=lambda: given)
    return executor


def make_template(root: Path) -> Path:
    """The files of a healthy project, with a source of three volumes, in a repository with a commit."""
    for name in (*FILES, "configs/splits/generated.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    source = root / "samples/phantom"
    source.mkdir(parents=True)
    rows = [f"v{number},g{number},v{number}.tif,v{number}.tif,2.0,1.0,1.0" for number in range(3)]
    (source / "dataset.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    for number in range(3):
        (source / f"v{number}.tif").write_bytes(b"II")
    text = (root / "configs/preflight.yaml").read_text()
    (root / "configs/preflight.yaml").write_text(text.replace("patience_s: 10", "patience_s: 0"))
    graph = yaml.safe_load((root / "dvc.yaml").read_text())
    for entry in graph["stages"].values():  # one file for all the code, which DVC takes a second to read
        code = [dep for dep in entry["deps"] if dep.startswith("stages/")]
        entry["deps"] = [code[0], *(dep for dep in entry["deps"] if dep not in code)]
        entry.pop("plots", None)
    del graph["stages"]["train_seed"]
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (root / ".dvc").mkdir()
    (root / ".dvc/config").touch()
    for words in (["init", "-q"], ["add", *FILES], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def make_bench(template: Path, root: Path, patch: pytest.MonkeyPatch, ends: contextlib.ExitStack) -> FaultProject:
    """A healthy project in `root`, on a machine that has enough of everything but no GPU."""
    shutil.copytree(template, root, ignore=shutil.ignore_patterns("stages"))
    (root / "stages").symlink_to(template / "stages")
    bench = FaultProject(root=root, patch=patch, ends=ends)
    bench.memory(64)
    bench.free(500)
    patch.setattr(gpus, "find_devices", lambda _: ())
    patch.setattr(swap, "swap_now", lambda: (8 * 10**9, 0))
    patch.setattr(data, "_run", _dvc)
    patch.setenv("DVC_SITE_CACHE_DIR", str(template / ".dvc/site"))
    return bench


def _dvc(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """DVC's answer to the command `words`, without the second that a process of it takes."""
    with _ONE_AT_A_TIME:
        key = (words, *_graph_of(root))
        if key not in _ASKED:
            _ASKED[key] = _ask(root, words)
        return _ASKED[key]


def _graph_of(root: Path) -> tuple[str, ...]:
    """What DVC's answer follows from: dvc.yaml, the params that it names, and the files that are there."""
    files = sorted(str(file.relative_to(root)) for file in root.rglob("*") if not {".git", ".dvc"} & {*file.parts})
    if not (root / "params.yaml").exists() or not (root / "dvc.yaml").exists():
        return tuple(files)
    params = (root / "params.yaml").read_text()
    with contextlib.suppress(yaml.YAMLError, KeyError, TypeError):
        read = yaml.safe_load(params)
        named = [read["ingest"]["source"], read["preprocess"]["splits_file"]]
        params = json.dumps([*named, read["training"]["losses"], read["training"]["folds"]])
    return (root / "dvc.yaml").read_text(), params, *files


def _ask(root: Path, words: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    try:
        with contextlib.closing(Repo(str(root))) as repo:
            return subprocess.CompletedProcess(words, 0, _answer(repo, words), "")
    except Exception as error:  # noqa: BLE001 - as DVC's command line does
        return subprocess.CompletedProcess(words, 255, "", f"ERROR: {error}\n")


def _answer(repo: Repo, words: Sequence[str]) -> str:
    if words == ("cache", "dir"):
        return str(repo.cache.local.path)
    if words == ("status", "--json"):
        return json.dumps(repo.status())
    assert words == ("data", "status", "--json")
    return json.dumps({name: found for name, found in repo.data_status().items() if found and name != "git"})
