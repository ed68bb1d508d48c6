"""Which tests can see a fault: each unit test's lines, learnt once per state of the tree; integration tests by room."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import coverage

from scripts.mutants.copies import Copy
from scripts.mutants.mutant import Mutant
from scripts.mutants.plugin import NOTES

UNIT = "tests/unit"
MOST_S = 60.0  # of tests for one mutant, cheapest first
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
    "capillary/report": ["test_report.py", "test_report_tracking.py"],
    "capillary/experiments": ["experiments"],
    "capillary/containers": ["containers"],
    "capillary/prediction": ["test_predict_command.py"],
    "capillary/preflight": ["test_preflight_command.py"],
    "capillary": ["launcher", "test_preflight_command.py"],
}
IMPORT = re.compile(r"^ *from ([\w.]+) import (\([^)]*\)|.*)", re.MULTILINE)
COVERAGE = """
[run]
source_dirs = {root}/capillary, {root}/stages
data_file = {data}
parallel = true
disable_warnings = no-data-collected, module-not-measured, couldnt-parse, no-ctracer, already-imported
context = ${{PYTEST_CURRENT_TEST-}}
"""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What one run of the unit tests found: test → seconds, and module → line → tests; module → who imports it."""

    seconds: dict[str, float]
    tests: dict[str, dict[int, set[str]]]
    importers: dict[str, set[str]] = field(default_factory=dict)
    totals: dict[str, float] = field(init=False, default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        for test, seconds in self.seconds.items():
            self.totals[_file(test)] += seconds

    def sharp(self, mutant: Mutant) -> list[str]:
        """Tests that reach the mutant's lines; if only the import does, those of its module and of who imports it."""
        lines = self.tests.get(mutant.path, {})
        found = set().union(*(lines.get(line, set()) for line in mutant.lines))
        modules = [mutant.path, *self.importers.get(mutant.path, ())]
        users = (tests for module in modules for tests in self.tests.get(module, {}).values())
        return self._cheapest(found or set().union(*users), mutant)

    def rest(self, mutant: Mutant, done: list[str]) -> list[str]:
        """The other tests of those files: a fixture that they share may have reached the lines in the first of them."""
        files = {_file(test) for test in done}
        return self._cheapest({test for test in self.seconds if _file(test) in files} - set(done), mutant)

    def _cheapest(self, tests: set[str], mutant: Mutant) -> list[str]:
        def order(test: str) -> tuple[bool, float, str, float]:
            file = _file(test)
            return not file.startswith(f"{UNIT}/{mutant.room}/"), self.totals[file], file, self.seconds[test]

        chosen: list[str] = []
        spent = 0.0
        for test in sorted(tests, key=order):
            spent += self.seconds[test]
            if spent > MOST_S and chosen:
                break
            chosen.append(test)
        return chosen


def learn(copy: Copy, cache: Path, jobs: int) -> Reach:
    """Run the unit tests of `copy` under coverage unless `cache` has what they reach."""
    data, notes = cache / "coverage", cache / "seconds.json"
    if not notes.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        settings = cache / "coveragerc"
        settings.write_text(COVERAGE.format(root=copy.root, data=data))
        (cache / "root").write_text(str(copy.root))
        options = ["-n", str(jobs), "--dist", "loadfile", "--maxfail=1000", "-p", "scripts.mutants.plugin"]
        variables = {"COVERAGE_PROCESS_START": str(settings), NOTES: str(cache / "part.json")}
        copy.pytest([UNIT], *options, timeout_s=3600, **variables)
        combined = coverage.Coverage(config_file=str(settings))
        combined.combine([str(cache)])
        combined.save()
        (cache / "part.json").rename(notes)
    return _read(data, json.loads(notes.read_text()), Path((cache / "root").read_text()), copy)


def _read(data: Path, seconds: dict[str, float], root: Path, copy: Copy) -> Reach:
    found = coverage.CoverageData(str(data))
    found.read()
    tests: dict[str, dict[int, set[str]]] = {}
    for file in found.measured_files():
        lines = {
            line: {name for name in map(_test, contexts) if name in seconds}
            for line, contexts in found.contexts_by_lineno(file).items()
        }
        tests[Path(file).relative_to(root).as_posix()] = lines
    return Reach(seconds=seconds, tests=tests, importers=find_importers(copy.root, tests))


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


def _test(context: str) -> str:
    """The test of a context, which in a process that a test started ends with its phase."""
    for phase in (" (setup)", " (call)", " (teardown)"):
        context = context.removesuffix(phase)
    return context


def _file(test: str) -> str:
    return test.partition("::")[0]


def integration(mutant: Mutant) -> list[str]:
    """The integration tests of the mutant's room."""
    names = next((names for start, names in INTEGRATION.items() if f"{mutant.room}/".startswith(f"{start}/")), [])
    return [f"tests/integration/{name}" for name in names]
