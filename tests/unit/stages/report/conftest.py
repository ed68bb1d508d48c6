"""A chart of equal values is drawn once for all of these tests: most change what is said next to it."""

import functools
from collections.abc import Callable, Iterator

import pytest

from stages.report.drawing import figures, reliability
from stages.report.drawing.charts import dot_plot, line_chart

_dot_plot, _line_chart = functools.cache(dot_plot), functools.cache(line_chart)


def _of(draw: Callable[..., str]) -> Callable[..., str]:
    return lambda rows, **named: draw(tuple(rows), **named)


@pytest.fixture(autouse=True, scope="session")
def drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "dot_plot", _of(_dot_plot))
        for module in (figures, reliability):
            patch.setattr(module, "line_chart", _of(_line_chart))
        yield
