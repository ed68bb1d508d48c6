"""Each thing that decides a result is named when it differs, with both values."""

import dataclasses
from typing import Any

import pytest

from capillary.reproduce.differences import MOST_PACKAGES, Difference, Trained, differences, evaluation_differences
from capillary.reproduce.verdict import CellVerdict, Verdict, lines_of
from stages.common.errors import ExitCode
from stages.common.runtime import SourceData
from tests.support.tracking.provenance import COMPUTING, MACHINE, SOFTWARE, provenance_record

PARAMS = {"training": {"seed": 7, "filters": [4, 8]}, "ingest": {"source": "a"}}
ORIGINAL = Trained(record=provenance_record(), params=PARAMS)


def changed(host: dict[str, Any] | None = None, params: dict[str, Any] = PARAMS, **record: Any) -> Trained:
    """The same training but for this."""
    return Trained(record=provenance_record(host, **record), params=params)


def part(value: Any, **changes: Any) -> Any:
    """A part of the record with `changes`."""
    return value.model_copy(update=changes)


@pytest.mark.parametrize(
    ("now", "name", "then_value", "now_value"),
    [
        (changed({"commit": "d" * 40}), "commit", "c" * 40, "d" * 40),
        (changed({"diff_sha256": "ab"}), "changes on top of the commit", "–", "ab"),
        (changed({"data": {"data/processed": "cc.dir"}}), "data: data/processed", "bb.dir", "cc.dir"),
        (
            changed({"source": SourceData(path="s", hash_name="md5", hash="zz")}),
            "source: samples/phantom",
            "aa.dir",
            "zz",
        ),
        (changed(params={**PARAMS, "ingest": {"source": "b"}}), "param: ingest.source", '"a"', '"b"'),
        (changed(params={"training": PARAMS["training"]}), "param: ingest.source", '"a"', "–"),
        (changed({"environment": ("image:1", "amd64")}), "interpreter or image", "3.11.7, x86_64", "image:1, amd64"),
        (changed(software=part(SOFTWARE, python="CPython 3.12.1")), "python", "CPython 3.11.7", "CPython 3.12.1"),
        (changed(software=part(SOFTWARE, torch_cuda="12.6")), "torch", "2.13.0, CUDA cpu", "2.13.0, CUDA 12.6"),
        (changed(software=part(SOFTWARE, kernels="AVX512")), "kernels of torch", "AVX2", "AVX512"),
        (changed(machine=part(MACHINE, system="Darwin 24")), "operating system", "Linux 6.1, x86_64", "Darwin 24"),
        (changed(machine=part(MACHINE, cpu="B")), "CPU", "A", "B"),
        (changed(machine=part(MACHINE, cpu_flags=("avx2",))), "CPU instructions", "also avx512_bf16", "–"),
        (changed(machine=part(MACHINE, devices=("H200",))), "GPU", "–", "H200"),
        (changed(computing=part(COMPUTING, precision="bf16")), "precision", "fp32", "bf16"),
        (changed(computing=part(COMPUTING, threads=1)), "threads", "4", "1"),
        (changed(computing=part(COMPUTING, processes=2)), "processes", "1", "2"),
        (changed(computing=part(COMPUTING, seeds={"training": 8})), "seed: training", "7", "8"),
        (
            changed(software=part(SOFTWARE, packages={"torch": "2.14.0", "rich": "15.0.0"})),
            "package: torch",
            "2.13.0",
            "2.14.0",
        ),
        (changed(software=part(SOFTWARE, packages={"torch": "2.13.0"})), "package: rich", "15.0.0", "–"),
    ],
)
def test_one_change_is_one_named_difference(now: Trained, name: str, then_value: str, now_value: str) -> None:
    """And nothing else is named."""
    assert differences(ORIGINAL, now) == (Difference(name=name, then=then_value, now=now_value),)


def test_equal_trainings_differ_in_nothing() -> None:
    """Cores do not decide a result."""
    assert differences(ORIGINAL, changed(machine=part(MACHINE, cores=2))) == ()


def test_packages_that_compute_come_first_and_the_list_ends() -> None:
    """Hundreds of packages may differ, of which a reader needs those that compute."""
    many = {f"a{number}": "1" for number in range(MOST_PACKAGES + 5)} | {"torch": "2.14.0"}
    found = differences(ORIGINAL, changed(software=part(SOFTWARE, packages=many)))
    assert found[0].name == "package: torch"
    assert found[-1] == Difference(name="package: others", then="7 more", now="differ")


@pytest.mark.parametrize(
    ("then", "name"),
    [
        (changed({"diff": "masked"}), "changes as they were recorded"),
        (changed({"diff": "incomplete"}), "changes as they were recorded"),
        (changed(computing=part(COMPUTING, resumed_after=3)), "checkpoint"),
    ],
)
def test_what_a_record_lacks_is_named(then: Trained, name: str) -> None:
    """Such a training cannot be repeated as it was, whatever the machine."""
    now = changed(computing=part(then.record.computing, resumed_after=0))
    assert [each.name for each in differences(then, now)] == [name]


SAME = CellVerdict(
    label="capillary-dice_ce/3",
    stage="train@dice_ce-0",
    weights_then="a" * 64,
    weights_now="a" * 64,
    dsc_then=0.5,
    dsc_now=0.5,
    differences=(),
)
THREADS = Difference(name="threads", then="4", now="1")


@pytest.mark.parametrize(
    ("cell", "metrics", "code", "said"),
    [
        (SAME, {}, 0, "identical, weights aaaaaaaaaaaa, validation DSC 0.5"),
        (SAME, {"dsc": 0.25}, 0, "metrics: identical (1 means)"),
        (dataclasses.replace(SAME, dsc_then=None), {}, 0, "capillary-dice_ce/3: identical"),
        (dataclasses.replace(SAME, differences=(THREADS,)), {}, 0, "  although threads differ"),
        (dataclasses.replace(SAME, weights_now="b" * 64, differences=(THREADS,)), {}, 11, "  threads: 4 → 1"),
        (dataclasses.replace(SAME, weights_now="b" * 64), {}, 11, "  nothing that was recorded differs"),
        (dataclasses.replace(SAME, dsc_now=0.25), {}, 11, "validation DSC 0.25 instead of 0.5"),
        (SAME, {"dsc": 0.125}, 11, "  metric: dsc: 0.25 → 0.125"),
    ],
)
def test_the_verdict_and_its_exit_code(cell: CellVerdict, metrics: dict[str, float], code: int, said: str) -> None:
    """Identical is equal weights, equal scores and equal means; everything else says what differs."""
    verdict = Verdict(label=cell.label, cells=(cell,), metrics_then={"dsc": 0.25}, metrics_now=metrics)
    assert verdict.exit_code == code
    assert ExitCode.DIFFERS == 11
    assert said in "\n".join(lines_of(verdict))


@pytest.mark.parametrize(
    ("dsc", "reasons", "said"),
    [
        (0.125, (THREADS,), "  evaluation: threads: 4 → 1"),
        (0.125, (), "  nothing that was recorded of the evaluation differs"),
        (0.125, None, "  evaluate's own provenance is missing"),
        (0.25, (THREADS,), "  although threads differ"),
    ],
)
def test_other_metrics_have_reasons_as_other_weights_have(
    dsc: float, reasons: tuple[Difference, ...] | None, said: str
) -> None:
    """What differs between the evaluations, or that nobody can know because nothing was recorded of the first."""
    metrics = {"metrics_then": {"dsc": 0.25}, "metrics_now": {"dsc": dsc}}
    verdict = Verdict(label="capillary-default/2", cells=(SAME,), reasons=reasons, **metrics)
    assert verdict.exit_code == (0 if dsc == 0.25 else 11)
    assert said in "\n".join(lines_of(verdict))


def test_cards_are_no_reason_for_other_metrics() -> None:
    """Those of other losses are not there when one is evaluated, and weights are compared by themselves."""
    one, other = (changed({"data": {"data/processed": data, "models": data}}) for data in ("aa.dir", "bb.dir"))
    assert [each.name for each in evaluation_differences(one, other)] == ["data: data/processed"]
