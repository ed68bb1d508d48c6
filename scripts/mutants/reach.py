"""Which tests can see a fault: unit tests by who imports the module, integration tests by room."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.mutants.mutant import Mutant, room_of

UNIT = "tests/unit"
SHORT_S = 0.5  # of a file for which tests/seconds.json has no time
# What a file of tests counts for, times its seconds: each import between it and the fault, and another room, put it
# later; the module's name puts it earlier.
FARTHER, NAMED, MOST_DISTANCE = 3, 0.3, 4
# who calls a room's code in processes of their own; the first whose name starts the room's
INTEGRATION = {
    "stages/train": ["train"],
    "stages/ingest": ["ingest"],
    "stages/evaluate": ["test_evaluate_stage.py"],
    "stages/predict": ["test_predict_command.py"],
    "stages/preprocess": ["test_preprocess_stage.py"],
    "stages/preflight": ["test_preflight_command.py"],
    "stages/common/preflight": ["test_preflight_command.py"],
    "stages/common/registered": ["test_tracking_registry.py", "train/test_train_stage.py"],
    "stages/common/tracking": ["test_tracking_registry.py", "train/test_train_stage.py"],
    "stages/common": ["ingest", "test_preprocess_stage.py", "train/test_train_stage.py"],
    "stages/report": ["test_report.py", "test_report_tracking.py"],
    "capillary/report": ["test_report.py"],
    "capillary/experiments": ["experiments"],
    "capillary/executors": ["containers", "launcher"],
    "capillary/prediction": ["test_predict_command.py"],
    "capillary/preflight": ["test_preflight_command.py"],
    "capillary": ["launcher", "test_preflight_command.py"],
}
IMPORT = re.compile(r"^ *from ([\w.]+) import (\([^)]*\)|.*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Module, or file of tests → the files that import it; file of tests → seconds it takes."""

    importers: dict[str, set[str]]
    seconds: dict[str, float]

    def tests(self, mutant: Mutant, most_s: float) -> list[str]:
        """Files of unit tests that can see the mutant, the likely ones first, the short ones before the long ones.

        They take `most_s` together, or there is one.
        """
        distances = self._distances(mutant.path)
        near = {test for test in self.seconds if _room_of(test) == mutant.room}

        def order(test: str) -> tuple[float, str]:
            named = Path(mutant.path).stem in Path(test).stem
            weight = FARTHER ** distances.get(test, MOST_DISTANCE) * (1 if test in near else FARTHER)
            return weight * self.seconds[test] * (NAMED if named else 1), test

        chosen: list[str] = []
        for test in sorted((near | distances.keys()) & self.seconds.keys(), key=order):
            if not chosen or sum(self.seconds[each] for each in [*chosen, test]) <= most_s:
                chosen.append(test)
        return chosen

    def _distances(self, path: str) -> dict[str, int]:
        """File → over how many imports it gets to `path`, MOST_DISTANCE at most."""
        found = {path: 0}
        for distance in range(1, MOST_DISTANCE + 1):
            last = [file for file, former in found.items() if former == distance - 1]
            for importer in set().union(*(self.importers.get(file, ()) for file in last)):
                found.setdefault(importer, distance)
        return found


def _room_of(test: str) -> str:
    return room_of(test.removeprefix(f"{UNIT}/"))


def find_reach(root: Path, files: Sequence[str]) -> Reach:
    """What the imports in the code and in the unit tests among `files` say."""
    modules = [file for file in files if file.endswith(".py") and file.startswith(("capillary/", "stages/", "tests/"))]
    recorded = json.loads((root / "tests" / "seconds.json").read_text())
    tests = [file for file in modules if file.startswith(f"{UNIT}/") and Path(file).name.startswith("test_")]
    seconds = {test: max(recorded.get(test, 0.0), SHORT_S) for test in tests}
    return Reach(importers=find_importers(root, modules), seconds=seconds)


def find_importers(root: Path, modules: Iterable[str]) -> dict[str, set[str]]:
    """Module → modules that name it in an import."""
    importers: dict[str, set[str]] = defaultdict(set)
    paths = {module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): module for module in modules}
    for module in paths.values():
        for package, names in IMPORT.findall((root / module).read_text()):
            for name in (package, *(f"{package}.{name}" for name in re.findall(r"\w+", names))):
                if name in paths:
                    importers[paths[name]].add(module)
    return importers


def integration(mutant: Mutant) -> list[str]:
    """The integration tests of the mutant's room."""
    names = next((names for start, names in INTEGRATION.items() if f"{mutant.room}/".startswith(f"{start}/")), [])
    return [f"tests/integration/{name}" for name in names]
