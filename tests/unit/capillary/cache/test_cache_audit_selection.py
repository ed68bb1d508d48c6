"""Which recorded results an audit does not recompute, because another environment made them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from capillary.cache import audit
from capillary.compute.circumstances import Circumstances, keep_of
from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.messages import get_logger
from tests.unit.capillary.cache.records import C, record

NOW = Circumstances(environment=("3.11.7",), packages={}, cpu="EPYC", device="auto", threads=1, processes=1)


def test_json_is_alone_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is said while the results are chosen, such as a warning about the profile, is on standard error."""

    def plan(*_: object) -> audit.AuditSelection:
        get_logger("capillary.compute").warning("no profile fits")
        return audit.AuditSelection(records=(), of=0, seed=7, left_out={}, not_comparable=())

    monkeypatch.setattr(audit, "plan_audit", plan)
    monkeypatch.setattr(audit, "Project", lambda _root: None)
    monkeypatch.setattr(audit, "choose_executor", lambda _settings: process)
    (tmp_path / "dvc.yaml").touch()
    assert audit.run_audit(audit.Question(share=1, seed=7, stage=None), tmp_path, Stop(), json=True) == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"seed": 7, "recorded": 0, "results": []}
    assert "no profile fits" in shown.err


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
