"""The list of checks is what the documentation shows, and what a report holds."""

import re
from itertools import chain

import pytest

from stages.common.preflight.check import passed
from stages.common.preflight.listed import CHECKS, Where, make_checks
from tests.support.parts import REPOSITORY


def is_listed(name: str, where: Where) -> bool:
    """Whether a check called `name` is made at `where` by the list."""
    patterns = (shown for group in CHECKS for shown, places in group.names.items() if where in places)
    return any(re.fullmatch(re.escape(shown).replace("…", ".+").replace("NAME", ".+"), name) for shown in patterns)


WHERE = {"C": Where.COMMAND, "C G": Where.COMMAND | Where.GATE}


def test_the_documentation_names_each_check_and_where_it_is_made() -> None:
    """docs/preflight.md has one row for each, or for several alike."""
    text = (REPOSITORY / "docs" / "preflight.md").read_text()
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \| (C|C G) \|", text, flags=re.MULTILINE)
    shown = {name: WHERE[where] for names, where in rows for name in re.findall(r"`([^`]+)`", names)}
    listed = dict(chain.from_iterable(group.names.items() for group in CHECKS))
    assert shown == listed


def test_groups_are_made_in_the_order_of_the_list_and_only_where_they_apply() -> None:
    """A maker for another place is not asked."""

    def refuse() -> list[object]:
        raise AssertionError("asked")

    makers = {group.key: (lambda key=group.key: [passed(key, "")]) for group in CHECKS}
    every = [check.name for check in make_checks(Where.COMMAND, makers).checks]
    assert every == [group.key for group in CHECKS]
    unasked = {group.key: refuse for group in CHECKS if Where.GATE not in group.where}
    assert unasked
    found = [check.name for check in make_checks(Where.GATE, makers | unasked).checks]
    assert found == [group.key for group in CHECKS if Where.GATE in group.where]


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("ram", Where.GATE, True),
        ("port 5000", Where.COMMAND, True),
        ("port 5000", Where.GATE, False),
        ("environment of train", Where.GATE, True),
        ("service tiles", Where.COMMAND, True),
        ("unheard of", Where.COMMAND, False),
    ],
)
def test_a_name_in_a_report_is_looked_up(name: str, where: Where, expected: bool) -> None:
    """Also one that ends differently each time."""
    assert is_listed(name, where) is expected
