"""A workspace of two cells with a shell script in DVC's place."""

import json
from pathlib import Path
from typing import Any

import yaml

from capillary.dvc.forecast import StageForecast
from capillary.experiments import run
from capillary.experiments.run import Experiment, Options, read
from capillary.lifetimes.stop import Stop
from capillary.report import RunFacts
from stages.common.errors import CapillaryError
from tests.support.parts import REPOSITORY
from tests.unit.capillary.experiments.fake_dvc import FakeDvc

CHANGED = [StageForecast(address="evaluate", runs=True, why="changed command")]
UNCHANGED = [StageForecast(address="evaluate", runs=False, why="nothing changed")]
PARAMS = """\
preprocess: {splits_file: a.json, num_folds: 3, max_volumes: null}
training: {losses: [dice_ce], folds: [0, 1, 2], max_epochs: 10, warmup_epochs: 2}
"""


class Workspace:
    """A few params, an experiment file of two cells, and DVC's stand-in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dvc = FakeDvc(root)
        self.reports: list[tuple[Path, str, RunFacts]] = []
        self.refused: CapillaryError | None = None  # by the report
        (root / "params.yaml").write_text(PARAMS)
        (root / "dvc.yaml").write_text("stages: {toy: {cmd: x, params: [preprocess, training]}}\n")
        (root / "configs").symlink_to(REPOSITORY / "configs")
        self.file = root / "my v.yaml"
        self.write({})

    def write(self, training: dict[str, Any]) -> None:
        tree = {
            "experiment": {"name": "v", "description": "two losses"},
            "training": {"losses": ["cbdice", "dice_ce"], "folds": [1], **training},
        }
        self.file.write_text(yaml.safe_dump(tree))

    def read(self, **flags: bool) -> Experiment:
        return read(self.file, self.root, Options(**flags))

    def run(self, plan: list[StageForecast] = CHANGED) -> int:
        return run._run(self.read(), plan)

    def write_report(self, root: Path, name: str, facts: RunFacts, _stop: Stop) -> Path:
        if self.refused is not None:
            raise self.refused
        self.reports.append((root, name, facts))
        return root / "report.html"

    def is_finished(self) -> bool:
        record = self.root / ".capillary" / "experiments" / "v.json"
        return bool(json.loads(record.read_text())["finished"])

    @property
    def cell_calls(self) -> list[str]:
        return sorted(call.rpartition(" ")[2] for call in self.dvc.calls if "--single-item" in call)
