"""Every fault that the code can have, one at a time, and a seeded sample of them."""

import ast
import difflib
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from parso.tree import BaseNode

from scripts.mutants.operators import Node, operators

PACKAGES = ("capillary", "stages")
DEEPER = {"stages/common", "stages/train"}  # large: each of their folders is a room
LEAST_PER_ROOM = 6
TEXTS = {"say", "print", "echo", "log", "logger", "logging", "warn"}  # calls that tell a person something
FAULTLESS = {"name", "string", "newline", "endmarker", "fstring_start", "fstring_string", "fstring_end"}
ARITHMETIC = {"arith_expr", "term", "expr", "and_expr", "xor_expr", "shift_expr", "power"}
PATHS = re.compile(
    r"[\"']|dir\b|file|folder|home|out\b|parent|path|root|store|work\b", re.IGNORECASE
)  # `folder / name`
TYPE_NAME = re.compile(r"[A-Z][A-Za-z]*[a-z]\w* = (?!Annotated)|__all__")  # `Flips = Literal[...]`


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault: number `occurrence` of `operator` in `path`; it is made in the statement on `lines`."""

    path: str
    operator: str
    occurrence: int
    line: int
    lines: range

    @property
    def room(self) -> str:
        """The folder whose tests must see it."""
        return room_of(self.path)

    def code(self, original: str) -> str:
        """The module with this fault."""
        mutated: str = mutate_code(original, operators()[self.operator], self.occurrence)
        return mutated

    def changes(self, original: str) -> bool:
        """Whether it is Python, and not the same program."""
        try:
            return ast.dump(ast.parse(self.code(original))) != ast.dump(ast.parse(original))
        except SyntaxError:
            return False

    def diff(self, original: str) -> list[str]:
        """The changed lines, `-` and `+`."""
        lines = difflib.unified_diff(original.splitlines(), self.code(original).splitlines(), n=0, lineterm="")
        return [line for line in list(lines)[2:] if not line.startswith("@@")]


def room_of(path: str) -> str:
    """The folder to which a module, or the tests of one, belongs."""
    folders = PurePosixPath(path).parts[:-1]
    return "/".join(folders[: 3 if "/".join(folders[:2]) in DEEPER else 2])


def mutants_of(path: str, code: str) -> Iterator[Mutant]:
    """Every place for a fault in one module. Not each makes one: see `changes`."""
    statements = _statements(code)
    nodes = [(node, closed) for node, closed in _walk(get_ast(code), closed=False) if node.type not in FAULTLESS]
    for name, operator in operators().items():
        places = ((span, closed) for node, closed in nodes for span in operator.mutation_positions(node))
        for occurrence, ((start, _), closed) in enumerate(places):
            if not closed:
                lines = min((each for each in statements if start[0] in each), key=len)
                yield Mutant(path=path, operator=name, occurrence=occurrence, line=start[0], lines=lines)


def _walk(node: Node, *, closed: bool) -> Iterator[tuple[Node, bool]]:
    """Each node in cosmic-ray's order, and whether it is out of bounds."""
    closed = closed or _is_closed(node)
    yield node, closed
    if isinstance(node, BaseNode):
        for child in node.children:
            yield from _walk(child, closed=closed)


def _is_closed(node: Node) -> bool:
    """Annotations, type names, messages, choices, and signs that are no arithmetic: no test has to see those change."""
    parent = node.parent
    if parent is None:
        return False
    if node.type == "operator" and node.value in {"*", "**", "/"}:
        joins = node.value == "/" and PATHS.search(parent.get_code()) is not None
        return parent.type not in ARITHMETIC or joins
    before = node.get_previous_sibling()
    sign = before.value if before is not None and before.type == "operator" else ""
    if sign == "->" or (sign == ":" and parent.type in {"annassign", "tfpdef"}):
        return True
    return _is_declaration(node) or _is_message(node) or (node.type == "number" and _is_choice(node))


def _is_declaration(node: Node) -> bool:
    if node.type == "expr_stmt" and node.parent.parent.type == "file_input":
        return TYPE_NAME.match(_text(node)) is not None
    if node.type == "decorator":
        return re.match(r"@(dataclass|dataclasses|property|abstractmethod|overload)\b", _text(node)) is not None
    if node.type == "if_stmt":
        return "TYPE_CHECKING" in _text(node.children[1])
    return node.type in {"assert_stmt", "import_from"} or (node.type == "arglist" and node.parent.type == "classdef")


def _is_choice(number: Node) -> bool:
    """A number to which a module gives a name in capitals, such as a timeout: a test could only repeat it."""
    statement = number
    while statement.parent is not None and statement.parent.type not in {"simple_stmt", "file_input"}:
        statement = statement.parent
    is_global = statement.parent is not None and statement.parent.parent is not None
    return (
        is_global
        and statement.parent.parent.type == "file_input"
        and statement.type == "expr_stmt"
        and _text(statement.children[0]).isupper()
    )


def _is_message(node: Node) -> bool:
    """What a person reads: the inside of `raise` and of calls that print or log."""
    if node.parent.type == "raise_stmt":
        return True
    if node.type == "argument":
        return _text(node.children[0]) == "strict"  # zip's own assertion
    if node.type != "trailer" or node.children[0].value != "(":
        return False
    return bool({_text(each).strip(".") for each in node.parent.children[:-1]} & TEXTS)


def _text(node: Node) -> str:
    """Its code, without the blanks and comments in front of it."""
    code: str = node.get_code(include_prefix=False)
    return code


def _statements(code: str) -> list[range]:
    """The lines of each statement; of a compound one those of its head."""
    found = [range(1, code.count("\n") + 2)]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.stmt | ast.excepthandler):
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            first = getattr(body[0], "lineno", node.lineno + 1) if body else (node.end_lineno or node.lineno) + 1
            decorators = [each.lineno for each in getattr(node, "decorator_list", [])]
            found.append(range(min([node.lineno, *decorators]), max(first, node.lineno + 1)))
    return found


def find_mutants(root: Path, files: Sequence[str], room: str = "") -> list[Mutant]:
    """The faults of the modules among `files` whose folder is, or is in, `room`."""
    modules = [file for file in files if file.endswith(".py") and file.startswith(tuple(f"{p}/" for p in PACKAGES))]
    wanted = [file for file in modules if f"{file}/".startswith(f"{room.rstrip('/')}/" if room else "")]
    return [mutant for file in wanted for mutant in mutants_of(file, (root / file).read_text())]


def draw(
    mutants: Sequence[Mutant],
    size: int,
    seed: int,
    is_true: Callable[[Mutant], bool],
    least_per_room: int = LEAST_PER_ROOM,
) -> list[Mutant]:
    """About `size` mutants that are true faults: of each room its share, but `least_per_room`; one per line at most.

    A mutant's rank depends on the seed and itself alone: a change in one file does not redraw the others.
    """
    rooms: dict[str, dict[tuple[str, int], list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for mutant in sorted(mutants, key=lambda each: _rank(each, seed)):
        rooms[mutant.room][mutant.path, mutant.line].append(mutant)
    all_lines = sum(len(lines) for lines in rooms.values())
    drawn: list[Mutant] = []
    for _, lines in sorted(rooms.items()):
        firsts = (next(filter(is_true, on_line), None) for on_line in lines.values())
        share = max(least_per_room, -(-size * len(lines) // all_lines))
        drawn += islice((mutant for mutant in firsts if mutant is not None), share)
    return drawn


def _rank(mutant: Mutant, seed: int) -> str:
    key = f"{seed} {mutant.path} {mutant.operator} {mutant.occurrence}"
    return hashlib.sha256(key.encode()).hexdigest()
