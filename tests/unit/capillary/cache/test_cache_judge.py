"""Judgement of a recomputed result, the words about it and the exit code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from capillary.cache.audit import exit_code
from capillary.cache.judge import Judgement, Verdict, failed, judge, not_comparable
from capillary.cache.show import as_json, removal, show_judgement
from capillary.compute.circumstances import Circumstances
from stages.common.errors import ExitCode
from tests.unit.capillary.cache.records import A, B, C, record

NOW = Circumstances(environment=("3.11.7",), packages={}, cpu="EPYC", device="auto", threads=1, processes=1)
ROOT = Path("/p")
RUN = ROOT / ".dvc/cache/runs/ab/abc/def"


def judged(now: str, recorded_in: Circumstances | None) -> Judgement:
    return judge(record(files=(RUN, ROOT / "dvc.lock")), {"models/card.json": now}, recorded_in, NOW)


@pytest.mark.parametrize(
    ("now", "recorded_in", "verdict"),
    [
        (B, None, Verdict.CONFIRMED),
        (B, replace(NOW, cpu="Xeon"), Verdict.CONFIRMED),
        (C, replace(NOW, cpu="Xeon"), Verdict.EXPLAINED),
        (C, replace(NOW, packages={"torch": "1"}), Verdict.EXPLAINED),
        (C, NOW, Verdict.UNEXPLAINED),
        (C, None, Verdict.UNEXPLAINED),
    ],
)
def test_only_other_circumstances_explain_a_difference(
    now: str, recorded_in: Circumstances | None, verdict: Verdict
) -> None:
    """Who does not say where a result is from gets no benefit of the doubt."""
    found = judged(now, recorded_in)
    assert found.verdict is verdict
    assert found.differing == ({} if now == B else {"models/card.json": (B, C)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"packages": {"torch": "1"}}, None),
        ({"cpu": "Xeon", "packages": {"torch": "1"}}, ("cpu: Xeon then, EPYC now",)),
        ({"environment": ("image:1",)}, ("environment: image:1 then, 3.11.7 now",)),
        (
            {"threads": 4},
            (
                "threads: 4 then, 1 now",
                "to compute it so here: "
                "CAPILLARY_THREADS=4 CAPILLARY_PROCESSES=1 capillary cache audit --stage train@a-0",
            ),
        ),
    ],
)
def test_a_result_of_another_environment_is_not_compared(
    changes: dict[str, object], words: tuple[str, ...] | None
) -> None:
    """Image or interpreter, CPU type, threads, processes. Packages alone explain a difference, should there be one."""
    found = not_comparable(record(), replace(NOW, **changes), NOW)  # type: ignore[arg-type]  # its own fields
    assert (None if found is None else found.reasons) == words
    assert found is None or found.verdict is Verdict.NOT_COMPARABLE


def test_an_out_that_is_not_made_any_more_differs() -> None:
    """A record may name more than its stage makes."""
    assert judge(record(outs={"x": A, "y": B}), {"x": A}, NOW, NOW).differing == {"y": (B, "missing")}


def test_a_poisoned_result_is_named_with_its_hash_and_what_removes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """In the words for people and in the JSON."""
    found = judged(C, None)
    command = "rm -f .dvc/cache/runs/ab/abc/def && dvc repro --force --single-item train@a-0"
    show_judgement(found, ROOT)
    said = capsys.readouterr().out
    assert f"models/card.json: recorded {B}, now {C}" in said
    assert command in said
    (entry,) = json.loads(as_json([found], ROOT, seed=1, of=9))["results"]
    assert (entry["verdict"], entry["removal"]) == ("unexplained", command)
    assert entry["differing"] == {"models/card.json": {"recorded": B, "now": C}}


def test_a_result_of_the_run_cache_alone_is_removed_there() -> None:
    """Nothing in the workspace came from it."""
    found = judge(record(files=(RUN,)), {}, None, NOW)
    assert removal(found, ROOT) == "rm -f .dvc/cache/runs/ab/abc/def"


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([Verdict.CONFIRMED, Verdict.EXPLAINED, Verdict.NOT_COMPARABLE], 0),
        ([Verdict.CONFIRMED, Verdict.NOT_RECOMPUTED], ExitCode.CELLS_FAILED),
        ([Verdict.NOT_RECOMPUTED, Verdict.UNEXPLAINED], ExitCode.DATA),
    ],
)
def test_the_exit_code_is_that_of_the_worst(verdicts: list[Verdict], code: int) -> None:
    """A result that nothing explains is never hidden behind one that failed."""
    assert exit_code([replace(failed(record(), "why"), verdict=each) for each in verdicts]) == code
