"""Which recorded results an audit does not recompute, because another environment made them."""

from dataclasses import replace
from pathlib import Path

import pytest

from capillary.cache import audit
from capillary.compute.circumstances import Circumstances, keep_of
from capillary.executors.process import execute as process
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode
from tests.unit.capillary.cache.records import C, record

NOW = Circumstances(environment=("3.11.7",), packages={}, cpu="EPYC", device="auto", threads=1, processes=1)


def test_results_of_another_environment_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whom nothing is known is recomputed, as is everything of a stage that cannot tell what it would use."""
    asked = []

    def now(_root: Path, stage: str, *_: object) -> Circumstances:
        asked.append(stage)
        if stage == "evaluate":
            raise CapillaryError("no image", remedy="build it", code=ExitCode.MACHINE)
        return NOW

    monkeypatch.setattr(audit, "circumstances_now", now)
    monkeypatch.setattr(audit, "stage_of", lambda _root, address: address.split("@")[0])
    here, there, unknown = (record(f"train@{name}-0", outs={name: C}) for name in "abc")
    lost = record("evaluate", outs={"d": C})
    for each, cpu in ((here, "EPYC"), (there, "Xeon"), (lost, "Xeon")):
        keep_of(tmp_path, each.address, each.outs, replace(NOW, cpu=cpu))
    found = audit._not_comparable([here, there, unknown, lost], tmp_path, read_settings(tmp_path, {}), process)
    assert {each.record.address: each.reasons for each in found.values()} == {
        "train@b-0": ("cpu: Xeon then, EPYC now",)
    }
    assert asked == ["train", "evaluate"]
