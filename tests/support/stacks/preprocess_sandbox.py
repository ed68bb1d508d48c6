"""A folder as the launcher lays it out for the preprocess stage, and the stage in it."""

import csv
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml

from stages.preprocess.__main__ import main
from tests.support.in_process import run_in_process
from tests.support.orders import write_order
from tests.support.parts import REPOSITORY
from tests.support.warm import warm_python

SHIPPED: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["preprocess"]
COLUMNS = (
    *["id", "group", "image", "label", "shape_z", "shape_y", "shape_x", "spacing_z_um", "spacing_y_um", "spacing_x_um"],
    *["dtype", "image_sha256", "label_sha256", "label_foreground_value"],
)


class Sandbox:
    """What the launcher lays out for one run of the stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data" / "raw").mkdir(parents=True)
        (root / "configs" / "splits").mkdir(parents=True)
        (root / "stages").symlink_to(REPOSITORY / "stages")
        shutil.copy(REPOSITORY / "configs" / "splits" / "generated.json", root / "configs" / "splits")
        self.set()

    @property
    def processed(self) -> Path:
        """The stage's out."""
        return self.root / "data" / "processed"

    def set(self, **changes: Any) -> None:
        """Params: the shipped ones with `changes`."""
        (self.root / "params.yaml").write_text(yaml.safe_dump({"preprocess": SHIPPED | changes}))

    def split(self, content: object) -> None:
        """A splits file of the user's own."""
        (self.root / "configs" / "splits" / "mine.json").write_text(json.dumps(content))
        self.set(splits_file="configs/splits/mine.json")

    def add_source(self, source: Path) -> None:
        """data/raw as ingest leaves it, from a folder with dataset.csv."""
        with (source / "dataset.csv").open(newline="") as stream:
            rows = [self._add(source, row) for row in csv.DictReader(stream)]
        self.write_table(rows)

    def write_table(self, rows: list[dict[str, Any]]) -> None:
        """data/raw/volumes.csv."""
        with (self.root / "data" / "raw" / "volumes.csv").open("w", newline="") as stream:
            table = csv.DictWriter(stream, COLUMNS)
            table.writeheader()
            table.writerows(rows)

    def _add(self, source: Path, row: dict[str, str]) -> dict[str, Any]:
        folder = self.root / "data" / "raw" / row["id"]
        folder.mkdir()
        for kind in ("image", "label"):
            shutil.copyfile(source / row[kind], folder / f"{kind}.tif")
        image = tifffile.imread(folder / "image.tif")
        spacing = {name: value for name, value in row.items() if name.startswith("spacing")}
        shape = dict(zip(("shape_z", "shape_y", "shape_x"), image.shape, strict=True))
        checksums = {f"{kind}_sha256": digest(folder / f"{kind}.tif") for kind in ("image", "label")}
        return {
            "id": row["id"],
            "group": row.get("group") or row["id"],
            "image": f"{row['id']}/image.tif",
            "label": f"{row['id']}/label.tif",
            "dtype": image.dtype,
            "label_foreground_value": 255,
            **shape,
            **spacing,
            **checksums,
        }

    def start(
        self, workers: int = 1, file_limit: int | None = None, python: str = sys.executable
    ) -> subprocess.Popen[str]:
        """The stage in the background; `file_limit` is the most bytes that a file may hold."""

        def limit() -> None:
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        write_order(self.root, workers=workers)
        return subprocess.Popen(
            [python, "-m", "stages.preprocess"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": ".", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=limit,
            process_group=0,
        )

    def run(self, workers: int = 1, file_limit: int | None = None) -> tuple[int, str]:
        """Exit code and output of the stage."""
        process = self.start(workers, file_limit, warm_python() if file_limit is None else sys.executable)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def run_in_process(self) -> tuple[int, str]:
        """Exit code and output of the stage in the test's own process, with one worker."""
        write_order(self.root)
        done = run_in_process(main, self.root)
        return done.returncode, done.stdout + done.stderr

    def succeed(self, workers: int = 1) -> str:
        """Output of a run that must end with 0; what was there before is removed, as DVC does."""
        shutil.rmtree(self.processed, ignore_errors=True)
        code, output = self.run(workers)
        assert code == 0, output
        return output

    def digests(self) -> dict[str, str]:
        """Checksum of every file in the out."""
        return {
            str(file.relative_to(self.processed)): digest(file)
            for file in sorted(self.processed.rglob("*"))
            if file.is_file()
        }


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def add_large(box: Sandbox, count: int) -> None:
    """`count` noisy stacks that take a worker a second or more each."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        folder = box.root / "data" / "raw" / f"large_{number}"
        folder.mkdir()
        image = rng.integers(0, 255, (40, 400, 400), dtype=np.uint8)
        tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
        tifffile.imwrite(folder / "label.tif", (image > 200).astype(np.uint8), photometric="minisblack")
        rows.append(
            {"id": folder.name, "group": folder.name, "image": f"{folder.name}/image.tif", "dtype": "uint8"}
            | {"label": f"{folder.name}/label.tif", "shape_z": 40, "shape_y": 400, "shape_x": 400}
            | {"spacing_z_um": 1, "spacing_y_um": 1, "spacing_x_um": 1, "image_sha256": str(number)}
        )
    box.write_table(rows)
