"""The clock: set at all, and close to the clocks of servers."""

import re
import time
from email.utils import formatdate

import pytest

from stages.common.preflight.check import Status
from stages.common.preflight.checks.clock import check_clock
from stages.common.preflight.checks.service import Answer, Kind, Service
from stages.common.preflight.checks.services import ask_all, services_of
from stages.common.preflight.params import ClockParams, ServiceParams
from tests.support.machine import http_server

CLOCK = ClockParams(critical=True, max_skew_s=120, earliest_year=2026)


def ask(url: str) -> list[Answer]:
    """The answer of the server at `url`."""
    return ask_all(services_of({}, [url]), {}, ServiceParams(critical=True, timeout_s=2, patience_s=0))


@pytest.mark.parametrize(("off_s", "status"), [(0, Status.PASS), (-3600, Status.FAIL), (3600, Status.FAIL)])
def test_a_clock_that_is_off_is_seen_by_a_server_s_date(off_s: int, status: Status) -> None:
    """A real server whose Date header is an hour off: it is this machine that is off."""
    with http_server(date=formatdate(time.time() + off_s, usegmt=True)) as url:
        check = check_clock(ask(url), CLOCK)
    assert check.status is status
    if off_s:
        assert re.match(rf"3(59|60)\d s {'behind' if off_s > 0 else 'ahead of'} http", check.value)
        assert "timedatectl" in check.remedy


def test_a_clock_that_was_never_set() -> None:
    """A year before the earliest one fails without any server; the earliest year passes."""
    check = check_clock([], CLOCK, now_s=12_345.0)
    assert check.status is Status.FAIL
    assert "1970" in check.value
    assert check.threshold == "2026 or later"
    new_year_s = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC
    assert check_clock([], CLOCK, now_s=new_year_s - 1).status is Status.FAIL
    assert check_clock([], CLOCK, now_s=new_year_s).status is Status.PASS


def ahead(*seconds: float | None) -> list[Answer]:
    """Answers of servers h0, h1, … whose clocks are ahead by these seconds."""
    return [
        Answer(service=Service(kind=Kind.TCP, url=f"tcp://h{number}:1"), fault="", ahead_s=each)
        for number, each in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("seconds", "status", "value"),
    [
        ((120.0,), Status.PASS, "120 s from tcp://h0:1"),
        ((121.0,), Status.FAIL, "121 s behind tcp://h0:1"),
        ((-121.0,), Status.FAIL, "121 s ahead of tcp://h0:1"),
        ((5.0, -300.0, 200.0), Status.FAIL, "300 s ahead of tcp://h1:1"),
        ((None, 3.0, -2.0), Status.PASS, "3 s from tcp://h1:1"),
    ],
)
def test_the_server_that_is_furthest_off_decides(seconds: tuple[float | None, ...], status: Status, value: str) -> None:
    """In either direction; a skew equal to the threshold passes."""
    check = check_clock(ahead(*seconds), CLOCK)
    assert (check.status, check.value, check.threshold) == (status, value, "within 120 s")
    if status is Status.FAIL:
        assert check_clock(ahead(*seconds), CLOCK.model_copy(update={"critical": False})).status is Status.WARN


def test_a_date_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-0000` means UTC with unknown local time; this machine's own zone must not be applied."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        with http_server(date=formatdate(time.time())) as url:
            assert check_clock(ask(url), CLOCK).status is Status.PASS
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("date", ["yesterday", ""])
def test_a_server_that_tells_no_time_says_nothing_about_the_clock(date: str) -> None:
    """A header that is no date is not one that is off."""
    silent = Answer(service=Service(kind=Kind.TCP, url="tcp://h:1"), fault="")
    assert check_clock([silent], CLOCK).status is Status.PASS
    with http_server(date=date or "-") as url:
        assert check_clock(ask(url), CLOCK).status is Status.PASS
