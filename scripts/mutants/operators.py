"""Which faults are made: a choice of cosmic-ray's operators, one replacement per sign, and a few of our own."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import parso
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.operators.provider import OperatorProvider

Node = Any  # of parso, whose types do not say which kind of node has which attributes
Span = tuple[tuple[int, int], tuple[int, int]]

SIGNS = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul")
BITS = ("BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd", "LShift_RShift", "RShift_LShift")
COMPARISONS = ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
WORDS = ("TrueWithFalse", "FalseWithTrue", "AndWithOr", "OrWithAnd", "BreakWithContinue", "ContinueWithBreak")
LISTS = {"arglist", "testlist_comp", "testlist_star_expr", "subscriptlist", "exprlist"}
FREE = {"min", "max", "minimum", "maximum", "suppress", "array_equal", "isinstance"}  # a swap is the same, or absurd
CHOSEN = (
    *(f"ReplaceBinaryOperator_{name}" for name in (*SIGNS, *BITS)),
    *(f"ReplaceComparisonOperator_{name}" for name in COMPARISONS),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("Not", "USub", "Invert")),
    *(f"Replace{name}" for name in WORDS),
    *("AddNot", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop"),
)


class Rewrite(Operator):  # type: ignore[misc]  # cosmic-ray has no types
    """An operator that puts a new text in the place of one child of a node, or of the node itself."""

    def rewrites(self, node: Node) -> Iterator[dict[int | None, str]]:
        """Each fault that `node` can have: child's index (None: the node) → its new text."""
        raise NotImplementedError

    def mutation_positions(self, node: Node) -> Iterator[Span]:
        """cosmic-ray's interface: one span per fault."""
        for _ in self.rewrites(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """cosmic-ray's interface: `node` with its fault number `index`."""
        for child, text in list(self.rewrites(node))[index].items():
            old = node if child is None else node.children[child]
            new = parso.parse(old.get_first_leaf().prefix + text)
            if child is None:
                return new
            node.children[child] = new
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """cosmic-ray's interface; tests/unit/scripts has ours."""
        return ()


class RemoveCall(Rewrite):
    """A statement that is a call → `pass`."""

    def rewrites(self, node: Node) -> Iterator[dict[int | None, str]]:
        """Calls whose result nobody takes."""
        if node.type == "simple_stmt" and node.children[0].type in {"atom_expr", "power", "await"}:
            yield {0: "pass"}


class RemoveRaise(Rewrite):
    """`raise …` → `pass`: a check that lets through, a handler that swallows."""

    def rewrites(self, node: Node) -> Iterator[dict[int | None, str]]:
        """A bare `raise` is a keyword, any other a statement."""
        bare = node.type == "keyword" and node.value == "raise" and node.parent.type == "simple_stmt"
        if node.type == "raise_stmt" or bare:
            yield {None: "pass"}


class CatchNothing(Rewrite):
    """`except X` → `except ()`, `suppress(X)` → `suppress()`."""

    def rewrites(self, node: Node) -> Iterator[dict[int | None, str]]:
        """Handlers and suppressing blocks."""
        if node.type == "except_clause":
            yield {1: "()"}
        elif node.type == "trailer" and len(node.children) == 3 and node.get_previous_leaf().value == "suppress":
            yield {1: ""}


class SwapNeighbours(Rewrite):
    """`f(a, b)` → `f(b, a)`, and `(z, y, x)` → `(y, z, x)`."""

    def rewrites(self, node: Node) -> Iterator[dict[int | None, str]]:
        """Neighbours among positional arguments, and among the items of a tuple or of several targets."""
        if node.type not in LISTS or _order_is_free(node):
            return
        for left in range(0, len(node.children) - 2, 2):
            pair = node.children[left], node.children[left + 2]
            if node.children[left + 1].type != "operator" or "argument" in {each.type for each in pair}:
                return  # a comprehension, a keyword, or unpacked
            texts = [each.get_code(include_prefix=False) for each in pair]
            if pair[0].type == pair[1].type and texts[0] != texts[1]:  # of unlike kinds: any test would notice
                yield {left: texts[1], left + 2: texts[0]}


def _order_is_free(node: Node) -> bool:
    """Whether a swap in `node` is not a fault: `except (A, B)`, `x in (a, b)`, `min(a, b)`, `{*(a, b)}`.

    Nor is it in a list or a set.
    """
    parent = node.parent
    if node.type == "testlist_comp":
        return parent.children[0].value != "(" or parent.parent.type in {"except_clause", "comparison", "star_expr"}
    return node.type == "arglist" and parent.type == "trailer" and parent.get_previous_leaf().value in FREE


class ReplaceAugmented(Rewrite):
    """`x += y` → `x -= y`, and so on."""

    TO = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "//=": "*=", "|=": "&=", "&=": "|="}  # noqa: RUF012

    def rewrites(self, node: Node) -> Iterator[dict[int | None, str]]:
        """Assignments that change a value."""
        if node.type == "operator" and node.value in self.TO:
            yield {None: self.TO[node.value]}


@cache
def operators() -> dict[str, Operator]:
    """Name → operator."""
    provider = OperatorProvider()
    ours = (RemoveCall, RemoveRaise, CatchNothing, SwapNeighbours, ReplaceAugmented)
    return {name: provider[name]() for name in CHOSEN} | {each.__name__: each() for each in ours}
