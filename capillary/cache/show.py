"""What an audit found, for people and for machines."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capillary.cache.judge import Judgement, Verdict
from capillary.integrity.lock_file import LOCK_FILE
from stages.common.program.console import print_answer

_WORDS = {
    Verdict.CONFIRMED: "is confirmed",
    Verdict.EXPLAINED: "differs because of the machine",
    Verdict.UNEXPLAINED: "differs for no known reason",
    Verdict.NOT_COMPARABLE: "was computed in another environment, and is not recomputed",
    Verdict.NOT_RECOMPUTED: "could not be computed again",
}


def show_left_out(reasons: Mapping[str, str]) -> None:
    """The stages whose results cannot be audited."""
    for address, reason in reasons.items():
        print_answer(f"not audited: {address}: {reason}")


def show_chosen(count: int, of: int, seed: int) -> None:
    """How many are recomputed, and how to choose the same ones again."""
    print_answer(f"recomputing {count} of {of} recorded results (--seed {seed} chooses these again)")


def show_judgement(found: Judgement, root: Path) -> None:
    """What became of one result, and what to do about one that nothing explains."""
    print_answer(f"{found.record.address} {_WORDS[found.verdict]}")
    for out, (recorded, now) in found.differing.items():
        print_answer(f"  {out}: recorded {recorded}, now {now}")
    for reason in found.reasons:
        print_answer(f"  {reason}")
    if found.verdict is Verdict.UNEXPLAINED:
        print_answer(f"  recorded in: {', '.join(_relative(file, root) for file in found.record.files)}")
        print_answer(f"  remove it and compute it again: {removal(found, root)}")


def show_summary(judgements: Sequence[Judgement]) -> None:
    """How many of each kind."""
    counts = {verdict: sum(each.verdict is verdict for each in judgements) for verdict in Verdict}
    print_answer(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "nothing is recorded")


def removal(found: Judgement, root: Path) -> str:
    """The command that takes a result out of the run cache and computes it again, without a look at the cache."""
    runs = [_relative(file, root) for file in found.record.files if file.name != LOCK_FILE]
    steps = [shlex.join(["rm", "-f", *runs])] if runs else []
    if len(runs) < len(found.record.files):
        steps.append(shlex.join(["dvc", "repro", "--force", "--single-item", found.record.address]))
    return " && ".join(steps)


def as_json(judgements: Sequence[Judgement], root: Path, *, seed: int, of: int) -> str:
    """All that `show_judgement` says, as one JSON object."""
    return json.dumps({"seed": seed, "recorded": of, "results": [_entry(each, root) for each in judgements]}, indent=2)


@contextlib.contextmanager
def stdout_as_stderr() -> Iterator[None]:
    """In the block what this process and those that it starts print goes to stderr: stdout is for the JSON alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _entry(found: Judgement, root: Path) -> dict[str, Any]:
    record = found.record
    return {
        "address": record.address,
        "verdict": found.verdict,
        "differing": {out: {"recorded": one, "now": other} for out, (one, other) in found.differing.items()},
        "reasons": list(found.reasons),
        "files": [_relative(file, root) for file in record.files],
        "removal": removal(found, root) if found.verdict is Verdict.UNEXPLAINED else None,
    }


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
