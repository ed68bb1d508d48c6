"""Progress: lines in a log, a bar on a terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from stages.common.program import messages
from stages.common.program import progress as module
from stages.common.program.messages import print_messages
from stages.common.program.progress import LOG_EVERY_S, Steps, progress


class _Clock:
    """Time that the test moves, for `steps` from their start on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
        self.now_s = steps.started = steps._told = 100.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now_s))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a log file gets."""
    text = io.StringIO()
    plain = Console(file=text, highlight=False, soft_wrap=True, force_terminal=False)
    for each in (module, messages):
        monkeypatch.setattr(each, "console", plain)
    return text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal gets."""
    text = io.StringIO()
    drawn = Console(file=text, force_terminal=True, width=100, _environ={})
    for each in (module, messages):
        monkeypatch.setattr(each, "console", drawn)
    return text


def test_a_log_has_a_line_for_each_step_with_its_number_and_the_seconds(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that were finished before count; a line of the caller's own stands in place of the usual one."""
    with progress("volume", total=4, done=1) as steps:
        clock = _Clock(monkeypatch, steps)
        clock.now_s += 2.5
        steps.advance("a")
        steps.advance("b", "its own line")
        clock.now_s += 1
        steps.advance("c")
    assert log.getvalue().splitlines() == ["volume 2/4 a (2.5 s)", "its own line", "volume 4/4 c (3.5 s)"]


def test_many_small_steps_have_a_line_now_and_then_and_one_at_the_end(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one for each of a thousand tiles, and none of them twice."""
    with progress("tile", total=6) as steps:
        clock = _Clock(monkeypatch, steps)
        for seconds in (1.0, LOG_EVERY_S, 1.0, LOG_EVERY_S - 1, 0.5, 0.0):
            clock.now_s += seconds
            steps.tick()
    assert log.getvalue().splitlines() == ["tile 2/6 (11.0 s)", "tile 5/6 (21.5 s)", "tile 6/6 (21.5 s)"]


@pytest.mark.parametrize("small", [False, True])
def test_a_terminal_has_one_bar_with_the_steps_that_are_finished(terminal: io.StringIO, small: bool) -> None:
    """No line for each step; names are no markup."""
    with progress("[tile]", total=5, done=2) as steps:
        steps.tick() if small else steps.advance("[a]", "a line for logs")
    shown = terminal.getvalue()
    assert "3/5" in shown
    assert ("[tile]" if small else "[tile] [a]") in shown
    assert "a line for logs" not in shown
    assert steps.done == 3


@pytest.mark.parametrize(("level", "form", "lines"), [("info", "json", 1), ("warning", "text", 0)])
def test_a_terminal_has_no_bar_where_json_or_warnings_alone_are_asked_for(
    terminal: io.StringIO, level: str, form: str, lines: int
) -> None:
    """A bar in between would break the lines of JSON."""
    print_messages(level, form)  # type: ignore[arg-type]  # of the parameters
    with progress("volume", total=1) as steps:
        steps.advance("a")
    assert len(terminal.getvalue().splitlines()) == lines
