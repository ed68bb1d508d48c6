"""Results of a test notebook: each test shows a green or red line with its remedy at once, the last cell sums up."""

import html
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Test = Callable[[], str]
_COLOURS = {True: "#1a7f37", False: "#cf222e"}
_WORDS = {True: "ok", False: "failed"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One test. `text` is what it found or why it failed; `remedy` is empty if it passed."""

    name: str
    passed: bool
    text: str
    remedy: str = ""
    seconds: float = 0.0

    def as_text(self) -> str:
        """A line for a terminal, and a second one with the remedy."""
        line = f"{_WORDS[self.passed]}: {self.name}: {self.text} ({self.seconds:.1f} s)"
        return f"{line}\n    remedy: {self.remedy}" if self.remedy else line

    def as_html(self) -> str:
        """The same in colour. Texts of programs are shown as they are, never read as HTML."""
        colour = _COLOURS[self.passed]
        remedy = f"<br><b>remedy</b>: {html.escape(self.remedy)}" if self.remedy else ""
        return (
            f'<div style="border-left: 6px solid {colour}; padding: 4px 10px">'
            f'<b style="color: {colour}">{html.escape(self.name)}: {_WORDS[self.passed]}</b> '
            f"{html.escape(self.text)} <small>{self.seconds:.1f} s</small>{remedy}</div>"
        )


class EnvironmentFailedError(Exception):
    """Some tests of the environment failed; the message names them."""


class Results:
    """The tests of one notebook, in the order in which they ran."""

    def __init__(self) -> None:
        self._results: dict[str, Result] = {}
        self._errors: dict[str, Exception] = {}

    def test(self, name: str, *, remedy: str) -> Callable[[Test], Test]:
        """Run the decorated function at once and show the result: the text that it returns, or why it failed.

        A failure stops no later cell: `summary` raises it. A cell that is run again replaces its previous result.
        """

        def run(test: Test) -> Test:
            start = time.perf_counter()
            self._errors.pop(name, None)
            try:
                text, passed = test(), True
            except Exception as error:  # noqa: BLE001 - kept whole; `summary` raises it
                self._errors[name] = error
                text, passed = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, False
            seconds = time.perf_counter() - start
            result = Result(name=name, passed=passed, text=text, remedy="" if passed else remedy, seconds=seconds)
            self._results[name] = result
            show([result])
            return test

        return run

    def summary(self) -> None:
        """Show all results, and whether all passed.

        Raises EnvironmentFailedError, caused by the errors themselves, where a test failed or none has run.
        """
        show(list(self._results.values()))
        if not self._results:
            raise EnvironmentFailedError("no test has run: run the cells above first")
        if self._errors:
            reason = ExceptionGroup("tests of this environment", list(self._errors.values()))
            raise EnvironmentFailedError(f"{', '.join(self._errors)}: see the remedies above") from reason
        put({"text/plain": f"all {len(self._results)} tests passed: this environment can run the pipeline"})


def show(results: list[Result]) -> None:
    """Lines for a notebook, and as text for if there is none."""
    page = "".join(result.as_html() for result in results)
    text = "\n".join(result.as_text() for result in results)
    put({"text/html": page, "text/plain": text})


def put(page: Mapping[str, str]) -> None:
    """Display `page`, by type of text, as an output of the cell that runs."""
    from IPython.display import display  # of the extra `notebooks`; nothing else here needs it

    display(page, raw=True)
