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
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from queue import Queue
from typing import Any

import yaml

from scripts.mutants import warm
from scripts.mutants.copies import Copy, copies, working_files
from scripts.mutants.mutant import LEAST_PER_ROOM, Mutant, draw, find_mutants
from scripts.mutants.reach import Reach, find_reach, integration

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = Path(__file__).with_name("accepted.yaml")
LEAST_SHARE, LEAST_ROOM_SHARE = 0.92, 0.80
START_S, SLOWER = 30.0, 4.0  # the CPU time that tests get: for imports, and times what they usually take
INTEGRATION_S = 600.0
TESTED = ("capillary/", "stages/", "tests/unit/", "tests/support/")  # whose libraries are imported beforehand
FAILED = re.compile(r"(?:FAILED|ERROR) ([^\[]*?(?:\[.*?\])?)(?: - .*)?")  # parameters may hold blanks and dashes
KILLED, TIMEOUT, SURVIVED, UNTESTED, UNSOUND = "killed", "timeout", "survived", "untested", "unsound"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a mutant. `tests` ran; `by` is the one that noticed."""

    mutant: Mutant
    status: str
    seconds: float = 0.0
    tests: tuple[str, ...] = ()
    by: str = ""

    @property
    def found(self) -> bool:
        """Whether a test noticed."""
        return self.status in {KILLED, TIMEOUT}


def try_mutant(
    mutant: Mutant, *, free: Queue[Copy], reach: Reach, most_s: float, with_integration: bool = False
) -> Outcome:
    """Run the tests that can see `mutant`, the likely ones first, until one fails."""
    copy = free.get()
    start = time.monotonic()
    outcome = Outcome(mutant=mutant, status=UNTESTED)
    try:
        with copy.changed(mutant.path, mutant.code((copy.root / mutant.path).read_text())):
            for tests in (reach.tests(mutant, most_s), integration(mutant) if with_integration else []):
                if tests and not outcome.found:
                    usual_s = sum(reach.seconds.get(test, INTEGRATION_S) for test in tests)
                    outcome = _run(outcome, copy, tests, START_S + SLOWER * usual_s)
    finally:
        free.put(copy)
    return replace(outcome, seconds=time.monotonic() - start)


def _run(before: Outcome, copy: Copy, tests: list[str], limit_s: float) -> Outcome:
    code, output = copy.pytest(tests, limit_s=limit_s)
    ran = replace(before, tests=(*before.tests, *tests))
    if code is None:
        return replace(ran, status=TIMEOUT)
    if code in {0, 5}:
        return replace(ran, status=SURVIVED)
    if code == warm.BROKEN:
        raise RuntimeError(output)
    return replace(ran, status=KILLED, by=next(failed_in(output), f"pytest ends with {code}"))


def failed_in(output: str) -> Iterator[str]:
    """The tests that pytest's summary says have failed."""
    found = map(FAILED.fullmatch, output.splitlines())
    return (match[1] for match in found if match)


def sound(outcomes: list[Outcome], copy: Copy) -> list[Outcome]:
    """`outcomes`, in which a test that fails without a fault has found none."""
    tests = sorted({each.by for each in outcomes if each.by.startswith("tests/")})
    code, output = copy.pytest([*tests, "--maxfail=1000"], limit_s=START_S * len(tests)) if tests else (0, "")
    failed = set(failed_in(output)) if code in {0, 1} else set(tests)
    return [replace(each, status=UNSOUND) if each.by in failed else each for each in outcomes]


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
        reason = accepted(outcome)
        print(f"\n{describe(outcome.mutant)}: {outcome.status}{reason and f', accepted: {reason}'}")


@cache
def describe(mutant: Mutant) -> str:
    """Where it is, and its diff."""
    changed = mutant.diff((ROOT / mutant.path).read_text())
    return "\n    ".join([f"{mutant.path}:{mutant.line} {mutant.operator}", *changed])


def accepted(outcome: Outcome) -> str:
    """Why no test has to find it, or nothing: accepted.yaml has path → changed lines → reason."""
    mutant = outcome.mutant
    added = [line.strip()[1:].strip() for line in describe(mutant).splitlines() if line.startswith("    +")]
    reasons: dict[str, dict[str, str]] = yaml.safe_load(ACCEPTED.read_text()) or {}
    return "" if outcome.found else reasons.get(mutant.path, {}).get(" ".join(added), "")


def test_all(
    mutants: list[Mutant],
    files: list[str],
    *,
    jobs: int,
    attempt: Callable[..., Outcome],
    note: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Each mutant's outcome; `note` is called after each one with all outcomes so far."""
    warm.import_libraries(ROOT / file for file in files if file.endswith(".py") and file.startswith(TESTED))
    outcomes: list[Outcome] = []
    with copies(ROOT, files, jobs) as free, ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(partial(attempt, free=free), in_turn(mutants)):
            outcomes.append(outcome)
            note(outcomes)
        outcomes = sound(outcomes, free.get())
    note(outcomes)
    return outcomes


def note_in(file: Path | None, outcomes: list[Outcome]) -> None:
    """Print the last outcome, and write all of them to `file`."""
    last = outcomes[-1]
    place = f"{last.mutant.path}:{last.mutant.line} {last.mutant.operator}"
    seen = last.by or f"{len(last.tests)} files of tests"
    print(f"[{len(outcomes)}] {last.status:9}{last.seconds:4.0f} s {place} {seen}")
    if file is not None:
        facts = [
            asdict(each) | {"room": each.mutant.room, "diff": describe(each.mutant), "reason": accepted(each)}
            for each in outcomes
        ]
        file.write_text(json.dumps(facts, indent=1, default=list))


def in_turn(mutants: list[Mutant]) -> list[Mutant]:
    """The first of every room, then the second: a run that is stopped has seen every room."""
    seen: Counter[str] = Counter()
    turns = []
    for mutant in mutants:
        turns.append((seen[mutant.room], mutant))
        seen[mutant.room] += 1
    return [mutant for _, mutant in sorted(turns, key=lambda each: each[0])]


def not_found(mutants: list[Mutant], facts: list[dict[str, Any]]) -> list[Mutant]:
    """Those of `mutants` that the facts of a former run say no test found."""
    missed = {each["diff"] for each in facts if each["status"] not in {KILLED, TIMEOUT}}
    return [mutant for mutant in mutants if describe(mutant) in missed]


def main() -> int:
    """0, or 1 when tests find too few faults."""
    parser = argparse.ArgumentParser(prog="test-mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=150, help="about so many faults, more where folders need more")
    parser.add_argument("--per-room", type=int, default=LEAST_PER_ROOM, help="so many faults in each folder at least")
    parser.add_argument("--seed", type=int, default=20261128, help="draws another sample")
    parser.add_argument("--room", default="", help="a folder such as stages/train")
    parser.add_argument("--seconds", type=float, default=30.0, help="most that a fault's unit tests take together")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only those that no test found, of a --json FILE")
    parser.add_argument("--jobs", type=int, default=2, help="tests that run at a time")
    parser.add_argument("--integration", action="store_true", help="those too, where unit tests find nothing: minutes")
    parser.add_argument("--list", action="store_true", help="show the faults and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome")
    asked = parser.parse_args()
    files = working_files(ROOT)
    found = find_mutants(ROOT, files, asked.room)
    sample = partial(draw, found, asked.sample, asked.seed, least_per_room=asked.per_room)
    mutants = sample(is_true=lambda each: each.changes((ROOT / each.path).read_text()))
    if asked.again:
        mutants = not_found(mutants, json.loads(asked.again.read_text()))
    print(f"{len(mutants)} of {len(found)} faults, seed {asked.seed}", flush=True)
    if asked.list:
        print("\n".join(map(describe, mutants)))
        return 0
    attempt = partial(
        try_mutant, reach=find_reach(ROOT, files), most_s=asked.seconds, with_integration=asked.integration
    )
    outcomes = test_all(mutants, files, jobs=asked.jobs, attempt=attempt, note=partial(note_in, asked.json))
    print_report(outcomes)
    return int(not is_enough(shares(outcomes)))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main())
