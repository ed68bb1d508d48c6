import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from stages.common.errors import CapillaryError, ExitCode, ParamsError
from stages.common.params import load_params
from stages.preflight.check import Report, Status, missed, passed, warned
from stages.preflight.gate import refuse
from stages.preflight.params import CONFIG_FILE, PreflightParams
from stages.preflight.table import lines, print_table
from tests.support.parts import REPOSITORY

TEXT = (REPOSITORY / CONFIG_FILE).read_text()
REPORT = Report(
    (
        passed("ram", "5 GB available", "at least 1 GB", critical=True),
        warned("swap", "90% [used]", "at most 80%", "empty it"),
        missed("disk of workspace", "0.1 GB free", "at least 1 GB", "free space", critical=True),
    )
)


@pytest.mark.parametrize(
    ("former", "new", "what"),
    [
        ("min_available_gb: 1", "min_availble_gb: 1", r"\[ram\] unknown key `min_availble_gb`; did you mean `min_av"),
        ("swap:  ", "swop:  ", "unknown key `swop`; did you mean `swap`"),
        ("max_used_percent: 80", "max_used_percent: 180", "`max_used_percent`"),
        ("max_skew_s: 120", "max_skew_s: soon", "`max_skew_s`"),
        ("min_free_gb: 2", "min_free_gb: -1", "`min_free_gb`"),
        ("services: []", "services: [mlflow]", "mlflow is no URL"),
        ("services: []", "services: ['tcp://host']", "tcp://host names no port"),
        ("    train: []", "    tarin: []", "unknown key `tarin`; did you mean `train`"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tmp_path: Path, former: str, new: str, what: str) -> None:
    """With the nearest right name."""
    assert former in TEXT
    (tmp_path / "preflight.yaml").write_text(TEXT.replace(former, new, 1))
    with pytest.raises(ParamsError, match=what):
        load_params(PreflightParams, tmp_path / "preflight.yaml")


def test_the_shipped_thresholds_are_right() -> None:
    """The file in configs/ is one that the type takes, and lists no service of somebody's own."""
    assert load_params(PreflightParams, REPOSITORY / CONFIG_FILE).services == ()


def test_only_a_critical_miss_stops_a_run() -> None:
    """The rest is a warning."""
    assert REPORT.failed
    soft = missed("ram", "1", "2", "buy more", critical=False)
    assert soft.status is Status.WARN
    assert not Report((soft, passed("x", "y"))).failed


def test_the_refusal_names_what_failed() -> None:
    """With the exit code of its own."""
    error = refuse(REPORT, "train@dice_ce-0")
    assert isinstance(error, CapillaryError)
    assert error.code == ExitCode.PREFLIGHT == 9
    assert error.value == "disk of workspace"
    assert "train@dice_ce-0" in error.what


def test_json_tells_everything() -> None:
    """Each check with each of its fields, and whether a run may start."""
    data = json.loads(json.dumps(REPORT.as_data()))
    assert data["failed"] is True
    assert data["checks"][2] == {
        "name": "disk of workspace",
        "status": "fail",
        "value": "0.1 GB free",
        "threshold": "at least 1 GB",
        "remedy": "free space",
        "critical": True,
    }


def test_the_table_shows_every_check_and_each_remedy_once() -> None:
    """Brackets in a value are no markup."""
    out = io.StringIO()
    print_table(REPORT, Console(file=out, width=120))
    shown = out.getvalue()
    assert "90% [used]" in shown
    assert shown.count("free space") == shown.count("empty it") == 1
    assert "1 passed, 1 warning, 1 failed" in shown


def test_a_log_has_a_line_for_what_matters() -> None:
    """What passed is counted."""
    assert [line.split(":")[0] for line in lines(REPORT)] == ["warn swap", "fail disk of workspace", "preflight"]
    assert len(lines(REPORT, every=True)) == 4
