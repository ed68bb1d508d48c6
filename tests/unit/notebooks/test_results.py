"""Results of a test notebook: green or red at once, and a last cell that fails where a test did."""

from collections.abc import Mapping

import pytest

from notebooks import results as module
from notebooks.results import EnvironmentFailedError, Results


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """What was displayed, by type."""
    pages: list[Mapping[str, str]] = []
    monkeypatch.setattr(module, "put", pages.append)
    return pages


def _fail() -> str:
    raise ValueError("<b>no</b> driver")


def test_a_passing_test_is_green_with_what_it_found(shown: list[Mapping[str, str]]) -> None:
    """The remedy is for failures alone."""
    results = Results()
    results.test("GPU", remedy="buy one")(lambda: "two")
    assert shown[0]["text/plain"].startswith("ok: GPU: two (")
    assert "#1a7f37" in shown[0]["text/html"]
    assert "buy one" not in shown[0]["text/html"]
    results.summary()
    assert "all 1 tests passed" in shown[-1]["text/plain"]


def test_a_failing_test_is_red_with_its_remedy(shown: list[Mapping[str, str]]) -> None:
    """The error's own text is shown, and is not HTML."""
    Results().test("GPU", remedy="update <it>")(_fail)
    assert "failed: GPU: ValueError: <b>no</b> driver" in shown[0]["text/plain"]
    assert "remedy: update <it>" in shown[0]["text/plain"]
    assert "&lt;b&gt;no&lt;/b&gt; driver" in shown[0]["text/html"]
    assert "update &lt;it&gt;" in shown[0]["text/html"]


@pytest.mark.usefixtures("shown")
def test_a_failure_stops_the_last_cell_alone() -> None:
    """Later tests run; the summary names the failed ones, and its cause is their errors."""
    results = Results()
    results.test("GPU", remedy="r")(_fail)
    results.test("disk", remedy="r")(lambda: "large")
    with pytest.raises(EnvironmentFailedError, match=r"^GPU: see the remedies") as caught:
        results.summary()
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [str(error) for error in caught.value.__cause__.exceptions] == ["<b>no</b> driver"]


@pytest.mark.usefixtures("shown")
def test_a_cell_that_is_run_again_counts_once() -> None:
    """A fault that was mended is forgotten."""
    results = Results()
    results.test("GPU", remedy="r")(_fail)
    results.test("GPU", remedy="r")(lambda: "one")
    results.summary()


def test_no_test_is_no_success(shown: list[Mapping[str, str]]) -> None:
    """The last cell alone says nothing about the environment."""
    with pytest.raises(EnvironmentFailedError, match="no test has run"):
        Results().summary()
