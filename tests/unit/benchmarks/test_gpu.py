"""The GPU benchmark, rehearsed on a CPU: what its sections find, and what is said of those that end badly."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from benchmarks.gpu_sections import SECTIONS, Setting, make_setting
from tests.unit.stages.train.tiny import write_volumes


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Little of everything, on three tiny volumes."""
    write_volumes(tmp_path / "data" / "processed")
    return make_setting(tmp_path, small=True)


def test_the_sections_measure_a_step_in_every_variant_and_a_whole_stack(setting: Setting) -> None:
    """Their reports are JSON, as the process of a section prints it."""
    report = {name: json.loads(json.dumps(SECTIONS[name](setting))) for name in ("machine", "probe", "predict")}
    assert report["machine"]["gpus"] == []
    assert set(report["probe"]["step_ms"]) == {"plain float32", "channels last", "half", "half + channels last"}
    assert all(value is None or value > 0 for value in report["probe"]["step_ms"].values())
    assert report["probe"]["patches_that_fit"] == 4
    assert report["predict"]["seconds"].keys() >= {"ours", "monai fp32"}
    assert report["predict"]["ratios"]["monai fp32"] > 0


@pytest.mark.parametrize(
    ("program", "seconds", "found"),
    [
        ("print('a line'); print('{\"ratio\": 2}')", 60, {"ratio": 2}),
        ("raise SystemExit(3)", 60, {"failed": "it ended with 3; its messages are above"}),
        ("import time; time.sleep(60)", 0.2, {"failed": "it took more than the 0 s that were left"}),
    ],
)
def test_a_section_that_ends_badly_says_so_in_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, seconds: float, found: dict[str, Any]
) -> None:
    """It costs no other section."""
    file = tmp_path / "section.py"
    file.write_text(program)
    monkeypatch.setattr(gpu, "__file__", str(file))
    assert gpu._in_own_process("probe", str(tmp_path), seconds, small=True) == found


def test_what_is_known_is_kept_after_each_section_and_without_time_the_rest_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The machine may be taken back at any moment."""
    out, seen = tmp_path / "gpu.json", []

    def run(section: str, *_: object, **__: object) -> dict[str, Any]:
        seen.append(json.loads(out.read_text()) if out.exists() else {})
        return {"ratio": len(seen)}

    monkeypatch.setattr(gpu, "prepared", lambda *_: None)
    monkeypatch.setattr(gpu, "_in_own_process", run)
    gpu.measure(["machine", "probe"], 5, small=True, out=out)
    assert seen == [{}, {"machine": {"ratio": 1}}]
    late = gpu.measure(["machine"], 0.1, small=True, out=out)
    assert late == {"machine": {"left out": "no time was left"}} == json.loads(out.read_text())


def test_the_table_has_every_figure_and_every_gap() -> None:
    """A figure that is missing is not zero."""
    report = {
        "probe": {"step_ms": {"half": 1.5, "compiled": None}, "patches_that_fit": 8},
        "training": {"ratios": {"step": 3.2, "loading": 1.01}, "gpu_busy": 0.95},
        "predict": {"failed": "it ended with 1; its messages are above"},
        "processes": {"left out": "one GPU: nothing to share a batch with"},
    }
    lines = gpu.table(report).splitlines()
    assert "| training: plain MONAI / ours, a step | 3.2 | ≥ 3 |" in lines
    assert "| probe: compiled, ms | not measured |  |" in lines
    assert "| resume: the same weights | not measured |  |" in lines
    assert lines[-2:] == [
        "predict: it ended with 1; its messages are above",
        "processes: one GPU: nothing to share a batch with",
    ]
