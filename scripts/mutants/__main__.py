"""Put small faults into the code, one at a time, and see whether the tests notice.

    ./just test-mutants                                 a sample over capillary/ and stages/
    ./just test-mutants --room stages/train             over one folder
    ./just test-mutants --seed 7 --integration --json FILE
    ./just test-mutants --list                          show the faults, run nothing

Exit code 1 when fewer than 92 % of the faults are found, or fewer than 80 % in one folder. accepted.yaml gives the
reason for a fault that no test has to find; it counts as not found all the same.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Queue

import yaml

from scripts.mutants.copies import Copy, copies, tree_hash, working_files
from scripts.mutants.mutant import Mutant, draw, find_mutants
from scripts.mutants.reach import Reach, integration, learn

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = Path(__file__).with_name("accepted.yaml")
LEAST_SHARE, LEAST_ROOM_SHARE = 0.92, 0.80
START_S, SLOWER = 60.0, 4.0  # the time that tests get: for Python and imports, and times what they usually take
INTEGRATION_S = 600.0
KILLED, TIMEOUT, SURVIVED, UNTESTED = "killed", "timeout", "survived", "untested"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a mutant. `by` is the test that failed, `reason` why no test has to."""

    mutant: Mutant
    status: str
    seconds: float = 0.0
    by: str = ""
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether a test noticed."""
        return self.status in {KILLED, TIMEOUT}


def try_mutant(mutant: Mutant, free: Queue[Copy], reach: Reach, *, with_integration: bool) -> Outcome:
    """Run the tests that can see `mutant`, the likely ones first, until one fails."""
    copy = free.get()
    start = time.monotonic()
    outcome = Outcome(mutant=mutant, status=UNTESTED)
    try:
        with copy.changed(mutant.path, mutant.code((copy.root / mutant.path).read_text())):
            sharp = reach.sharp(mutant)
            for tests in (sharp, reach.rest(mutant, sharp), integration(mutant) if with_integration else []):
                if tests and not outcome.found:
                    usual_s = sum(reach.seconds.get(test, INTEGRATION_S) for test in tests)
                    outcome = _run(mutant, copy, tests, START_S + SLOWER * usual_s)
    finally:
        free.put(copy)
    return replace(outcome, seconds=time.monotonic() - start)


def _run(mutant: Mutant, copy: Copy, tests: list[str], timeout_s: float) -> Outcome:
    code, output = copy.pytest(tests, timeout_s=timeout_s)
    if code == 4 and "not found" in output:  # tests are named after what the fault changed
        code, output = copy.pytest(sorted({test.partition("::")[0] for test in tests}), timeout_s=timeout_s)
    if code is None:
        return Outcome(mutant=mutant, status=TIMEOUT)
    if code in {0, 5}:
        return Outcome(mutant=mutant, status=SURVIVED)
    failed = [line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return Outcome(mutant=mutant, status=KILLED, by=failed[0] if failed else f"pytest ends with {code}")


def shares(outcomes: list[Outcome]) -> dict[str, tuple[int, int]]:
    """Room → faults, and those found; "" is the whole."""
    rooms = sorted({outcome.mutant.room for outcome in outcomes})
    groups = {room: [each for each in outcomes if each.mutant.room == room] for room in rooms} | {"": outcomes}
    return {room: (len(group), sum(each.found for each in group)) for room, group in groups.items()}


def is_enough(counts: dict[str, tuple[int, int]]) -> bool:
    """Whether the whole and each room reach what they must."""
    return all(found >= all_ * (LEAST_ROOM_SHARE if room else LEAST_SHARE) for room, (all_, found) in counts.items())


def print_report(outcomes: list[Outcome]) -> None:
    """The table of rooms, and the faults that no test found."""
    print(f"\n{'room':28}{'mutants':>8}{'killed':>8}{'share':>8}")
    for room, (number, found) in shares(outcomes).items():
        print(f"{room or 'all':28}{number:8}{found:8}{found / number:8.0%}")
    timeouts = sum(outcome.status == TIMEOUT for outcome in outcomes)
    print(f"{timeouts} of them by running out of time")
    for outcome in sorted((each for each in outcomes if not each.found), key=lambda each: each.mutant.path):
        print(f"\n{describe(outcome.mutant)}: {outcome.status}{outcome.reason and f', accepted: {outcome.reason}'}")


def describe(mutant: Mutant) -> str:
    """Where it is, and its diff."""
    changed = mutant.diff((ROOT / mutant.path).read_text())
    return "\n    ".join([f"{mutant.path}:{mutant.line} {mutant.operator}", *changed])


def accepted(mutant: Mutant, reasons: dict[str, dict[str, str]]) -> str:
    """Why no test has to find it, or nothing: accepted.yaml has path → changed lines → reason."""
    added = [line[1:].strip() for line in mutant.diff((ROOT / mutant.path).read_text()) if line.startswith("+")]
    return reasons.get(mutant.path, {}).get(" ".join(added), "")


def test_all(mutants: list[Mutant], files: list[str], *, jobs: int, with_integration: bool) -> list[Outcome]:
    """Each mutant's outcome, in the order in which they end."""
    reasons = yaml.safe_load(ACCEPTED.read_text()) or {}
    outcomes = []
    with copies(ROOT, files, jobs) as free, ThreadPoolExecutor(jobs) as pool:
        copy = free.get()
        reach = learn(copy, ROOT / ".capillary" / "mutants" / tree_hash(ROOT, files), jobs)
        free.put(copy)
        print(
            f"{len(reach.seconds)} unit tests pass without a fault, in {sum(reach.seconds.values()):.0f} s", flush=True
        )
        asked = [pool.submit(try_mutant, each, free, reach, with_integration=with_integration) for each in mutants]
        for ended in as_completed(asked):
            outcome = ended.result()
            outcome = outcome if outcome.found else replace(outcome, reason=accepted(outcome.mutant, reasons))
            outcomes.append(outcome)
            place = f"{outcome.mutant.path}:{outcome.mutant.line} {outcome.mutant.operator}"
            print(f"[{len(outcomes)}/{len(mutants)}] {outcome.status:9}{outcome.seconds:4.0f} s {place} {outcome.by}")
    return outcomes


def main() -> int:
    """0, or 1 when tests find too few faults."""
    parser = argparse.ArgumentParser(prog="test-mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=150, help="about so many faults, but 6 a folder at least")
    parser.add_argument("--seed", type=int, default=20261128, help="draws another sample")
    parser.add_argument("--room", default="", help="a folder such as stages/train")
    parser.add_argument("--jobs", type=int, default=2, help="tests that run at a time")
    parser.add_argument("--integration", action="store_true", help="those too, where unit tests find nothing: minutes")
    parser.add_argument("--list", action="store_true", help="show the faults and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome")
    asked = parser.parse_args()
    files = working_files(ROOT)
    found = find_mutants(ROOT, files, asked.room)
    mutants = draw(found, asked.sample, asked.seed, lambda each: each.changes((ROOT / each.path).read_text()))
    print(f"{len(mutants)} of {len(found)} faults, seed {asked.seed}", flush=True)
    if asked.list:
        print("\n".join(map(describe, mutants)))
        return 0
    outcomes = test_all(mutants, files, jobs=asked.jobs, with_integration=asked.integration)
    print_report(outcomes)
    if asked.json:
        facts = [asdict(each) | {"room": each.mutant.room, "diff": describe(each.mutant)} for each in outcomes]
        asked.json.write_text(json.dumps(facts, indent=1, default=list))
    return int(not is_enough(shares(outcomes)))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main())
