"""Faults that cosmic-ray lacks: a call left out, neighbours swapped, errors swallowed or let through."""

import pytest

from scripts.mutants.mutant import mutants_of


def _faults(operator: str, code: str) -> list[str]:
    """The code with each of the operator's faults."""
    return [mutant.code(code) for mutant in mutants_of("stages/x.py", code) if mutant.operator == operator]


@pytest.mark.parametrize(
    ("operator", "code", "faults"),
    [
        ("RemoveCall", "lock.release()\nx = f()\n", ["pass\nx = f()\n"]),
        ("RemoveRaise", "if x:\n    raise Error(1)\n", ["if x:\n    pass\n"]),
        ("RemoveRaise", "try:\n    f()\nexcept A:\n    raise\n", ["try:\n    f()\nexcept A:\n    pass\n"]),
        ("CatchNothing", "try:\n    f()\nexcept a.B as e:\n    g()\n", ["try:\n    f()\nexcept () as e:\n    g()\n"]),
        ("CatchNothing", "with suppress(A, B):\n    f()\n", ["with suppress():\n    f()\n"]),
        ("SwapNeighbours", "f(a, b, *c, k=1)\n", ["f(b, a, *c, k=1)\n"]),
        ("SwapNeighbours", "return z, y, x\n", ["return y, z, x\n", "return z, x, y\n"]),
        ("SwapNeighbours", "shape = (2, 1, 1)\n", ["shape = (1, 2, 1)\n"]),
        ("SwapNeighbours", "mask_zyx[z, y]\n", ["mask_zyx[y, z]\n"]),
        ("SwapNeighbours", "x in (a, b)\nmin(a, b)\nisinstance(a, b)\nx = {a, *(b, c)}\n", []),
        ("SwapNeighbours", "f(a, 'text')\n", []),
        ("ReplaceAugmented", "x += 1\n", ["x -= 1\n"]),
    ],
)
def test_own_operators_make_exactly_their_fault(operator: str, code: str, faults: list[str]) -> None:
    """Each place gives one fault, and the rest of the code stays as it is."""
    assert _faults(operator, code) == faults


def test_a_fault_is_made_at_its_own_place_alone() -> None:
    """Of equal places, the one with the mutant's number and line changes."""
    code = "def f(a):\n    b = a + 1\n    return b + 1\n"
    first, second = [each for each in mutants_of("stages/x.py", code) if each.operator.endswith("Add_Sub")]
    assert (first.line, second.line) == (2, 3)
    assert first.code(code) == "def f(a):\n    b = a - 1\n    return b + 1\n"
    assert second.code(code) == "def f(a):\n    b = a + 1\n    return b - 1\n"
    assert second.diff(code) == ["-    return b + 1", "+    return b - 1"]
