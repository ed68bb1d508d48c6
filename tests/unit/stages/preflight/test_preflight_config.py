"""Thresholds, and the report as a table, as log lines and as JSON."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from stages.common.errors import CapillaryError, ExitCode, ParamsError
from stages.common.params import load_params
from stages.common.preflight.check import Report, Status, at_least, missed, passed, report_of, warned
from stages.common.preflight.params import CONFIG_FILE, PreflightParams
from stages.common.preflight.table import lines, log_checks, print_table
from stages.common.program.messages import get_logger, print_messages
from stages.preflight.gate import refuse
from tests.support.parts import REPOSITORY

TEXT = (REPOSITORY / CONFIG_FILE).read_text()
LOG = get_logger("stages.preflight.example")
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
        ("services: []", "services: [mlflow]", "mlflow is not a URL"),
        ("services: []", "services: ['tcp://host']", "tcp://host names no port"),
        ("services: []", "services: ['ftp://host']", "ftp://host is not a URL"),
        ("services: []", "services: ['http:///x']", "http:///x is not a URL"),
        ("max_used_percent: 80", "max_used_percent: -1", "`max_used_percent`"),
        ("max_skew_s: 120", "max_skew_s: 0", "`max_skew_s`"),
        ("timeout_s: 3", "timeout_s: 0", "`timeout_s`"),
        ("patience_s: 10", "patience_s: -1", "`patience_s`"),
        ('torch_cuda: "13.0"', 'torch_cuda: "13"', "`torch_cuda`"),
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


@pytest.mark.parametrize(
    ("former", "new", "value"),
    [
        ("services: []", "services: ['http://h', 'https://h', 'postgresql://h', 'tcp://h:1']", 4),
        ("max_used_percent: 80", "max_used_percent: 100", 100),
        ("max_used_percent: 80", "max_used_percent: 0", 0),
        ("patience_s: 10", "patience_s: 0", 0),
        ("timeout_s: 3", "timeout_s: 0.5", 0.5),
        ("min_available_gb: 1", "min_available_gb: 0", 0),
    ],
)
def test_the_ends_of_a_range_are_in_it(tmp_path: Path, former: str, new: str, value: float) -> None:
    """The smallest and largest allowed values pass, and so does each scheme of a service."""
    (tmp_path / "preflight.yaml").write_text(TEXT.replace(former, new, 1))
    params = load_params(PreflightParams, tmp_path / "preflight.yaml")
    key = former.split(":")[0]
    homes = (params.swap, params.answers, params.ram)
    found = len(params.services) if key == "services" else next(getattr(h, key) for h in homes if hasattr(h, key))
    assert found == value


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
    assert refuse(Report((*REPORT.checks, *REPORT.checks)), "x").value == "disk of workspace, disk of workspace"
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
    assert shown.index("warn swap: empty it") < shown.index("fail disk of workspace: free space")
    heading, *rows = shown.splitlines()[:4]
    assert heading.split() == ["check", "status", "value", "threshold"]
    assert [row.split()[0] for row in rows] == ["ram", "swap", "disk"]


def test_a_gate_s_log_has_a_line_for_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    """What passed is counted. Each line has the level of its check."""
    log_checks(REPORT, LOG)
    assert capsys.readouterr().out.splitlines() == [
        "warn swap: 90% [used] (at most 80%); remedy: empty it",
        "fail disk of workspace: 0.1 GB free (at least 1 GB); remedy: free space",
        "preflight: 1 passed, 1 warning, 1 failed",
    ]


def test_a_log_of_every_check_is_what_an_answer_has(capsys: pytest.CaptureFixture[str]) -> None:
    """A line per check, then the summary."""
    log_checks(REPORT, LOG, every=True)
    assert capsys.readouterr().out.splitlines() == lines(REPORT)
    assert lines(REPORT)[0] == "pass ram: 5 GB available (at least 1 GB)"
    assert lines(Report((passed("shared memory", "not used"),))) == [
        "pass shared memory: not used",
        "preflight: 1 passed, 0 warnings, 0 failed",
    ]


def test_a_check_as_json_has_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """And the level that its status means."""
    print_messages("warning", "json")
    log_checks(REPORT, LOG, every=True)
    warned, failed = map(json.loads, capsys.readouterr().out.splitlines())
    assert (warned["level"], warned["name"], warned["status"], warned["remedy"]) == (
        "warning",
        "swap",
        "warn",
        "empty it",
    )
    assert (failed["level"], failed["message"]) == (
        "error",
        "disk of workspace: 0.1 GB free (at least 1 GB); remedy: free space",
    )


def test_reports_of_several_groups_keep_their_order() -> None:
    """The groups follow one another in one report."""
    assert report_of(REPORT.checks[:2], [], iter(REPORT.checks[2:])) == REPORT


@pytest.mark.parametrize(
    ("have_gb", "status", "value"),
    [
        (0.9996, Status.FAIL, "1.00 GB free"),
        (1.0, Status.PASS, "1.00 GB free"),
        (9.99, Status.PASS, "9.99 GB free"),
        (10.0, Status.PASS, "10.0 GB free"),
        (123.46, Status.PASS, "123.5 GB free"),
    ],
)
def test_a_quantity_is_shown_to_three_digits(have_gb: float, status: Status, value: str) -> None:
    """A value equal to the threshold passes; only a critical miss fails."""
    check = at_least("disk", have_gb, 1, "free", "free space", critical=True)
    assert (check.status, check.value, check.threshold, check.critical) == (status, value, "at least 1 GB", True)
    assert check.remedy == ("free space" if status is Status.FAIL else "")
    assert at_least("disk", have_gb, 1, "free", "x", critical=False).critical is False
