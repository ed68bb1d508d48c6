"""A healthy project to put faults into."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from capillary.params_file import check_params, read_params_file
from capillary.preflight import need as need_module
from capillary.preflight.docker import Daemon
from capillary.preflight.folds import check_folds, check_network
from capillary.preflight.need import find_need
from capillary.preflight.run import read_preflight
from capillary.settings import read_settings
from stages.common.errors import CapillaryError
from stages.common.machine.gpus import Gpu
from stages.common.preflight.check import Check
from stages.common.preflight.checks.disk import check_disk
from stages.common.preflight.params import ServiceParams
from stages.common.runtime import Need
from tests.support.parts import REPOSITORY

PARAMS = read_preflight(REPOSITORY)
ONCE = ServiceParams(critical=True, timeout_s=5, patience_s=0)
CARD = Gpu(index=0, uuid="GPU-0", name="RTX", memory_bytes=8 * 10**9, free_bytes=7 * 10**9, driver="580.65.06")
FILES = ("dvc.yaml", "params.yaml", "configs/stages.yaml", "configs/compute.yaml", "configs/preflight.yaml")


@dataclass(frozen=True)
class FaultProject:
    """A project with the files of this one, and a source of three volumes; and the means to put faults into it."""

    root: Path
    patch: pytest.MonkeyPatch

    def set(self, section: str, **values: object) -> list[Check]:
        """`capillary check` with other params."""
        params = read_params_file(self.root)
        params.setdefault(section, {}).update(values)
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))
        check_params(self.root)
        return []

    def folds(self, **values: object) -> list[Check]:
        """The checks of folds and network with other params."""
        self.set("preprocess", **values)
        params = read_params_file(self.root)
        found = [check_folds(self.root, params, critical=True), *check_network(self.root, params, critical=True)]
        assert found
        return found

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace text in a file."""
        file = self.root / name
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))

    def disk(self, number: int) -> list[Check]:
        """The check of a disk on which a write ends with the error `number`."""

        def refuse(dir: Path) -> None:
            raise OSError(number, os.strerror(number))

        self.patch.setattr(tempfile, "TemporaryFile", refuse)
        return [check_disk("cache", self.root, 0, "free space", critical=True)]

    def need(self, *, side_by_side: bool = False, **training: object) -> Need:
        """What a run would need with other params."""
        params = read_params_file(self.root)
        params["training"].update(training)
        return find_need(self.root, read_settings(self.root, {}), params, (), None, side_by_side=side_by_side)

    def docker(self, info: dict[str, Any], *gpus: Gpu) -> Daemon:
        """A daemon that has no image."""
        self.patch.setattr(need_module, "is_built", lambda _api, _tag: False)
        self.patch.setattr(need_module, "ContainerExecutor", lambda _settings: SimpleNamespace(environment=_build))
        return Daemon(api=None, info=info, gpus=gpus)


def _build(root: Path, stage: str, _access: object) -> SimpleNamespace:
    if not (root / "stages").is_dir():
        raise CapillaryError(
            f"the image of {stage} cannot be built without its Dockerfile", remedy="restore it", code=2
        )  # type: ignore[arg-type]
    return SimpleNamespace(stage=stage, tag=stage, build_args={"TORCH": "cuda"} if stage == "train" else {})


def make_bench(root: Path, patch: pytest.MonkeyPatch) -> FaultProject:
    """A healthy project in `root`."""
    code = ["stages/train/requirements.txt", "stages/train/losses/catalogue.py"]  # what params.yaml is checked with
    code += [str(file.relative_to(REPOSITORY)) for file in REPOSITORY.glob("stages/*/params.py")]
    for name in (*FILES, "configs/splits/generated.json", *code):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    source = root / "samples/phantom"
    source.mkdir(parents=True)
    rows = [f"v{number},g{number},v{number}.tif,v{number}.tif,2.0,1.0,1.0" for number in range(3)]
    head = "id,group,image,label,spacing_z_um,spacing_y_um,spacing_x_um"
    (source / "dataset.csv").write_text("\n".join([head, *rows]) + "\n")
    for number in range(3):
        (source / f"v{number}.tif").write_bytes(b"II")
    return FaultProject(root, patch)
