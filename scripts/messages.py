"""List every error message of the programs with its remedy, as the code has them: {values} are filled in when it runs.

python -m scripts.messages           all of them, by file
python -m scripts.messages gpu       those with this word in the file's name, the message or the remedy
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("capillary", "stages", "services", "serving", "scripts")
Function = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SPEAKING = (ast.Call, ast.Raise, ast.Tuple, ast.Assign, ast.JoinedStr, ast.Constant, *DEFINITIONS)
MARK = "remedy: "  # before the remedy in a message that has both
SUBJECTS = ("what", "name", "fault", "reason", "value")  # parameters that say what is wrong
MAKES_ERRORS = r"Error|NoReturn|Check|Refusal|Failure|Outcome|Answer"  # in what a function returns


@dataclass(frozen=True, kw_only=True, order=True)
class Message:
    """What a program says where something is wrong. `remedy` is empty where the code there has none."""

    file: str
    line: int
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n  {self.what}" + (f"\n  remedy: {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, kw_only=True)
class Reporter:
    """A class or function that makes errors of its arguments. `says` are pairs of message and remedy that have its
    parameters in braces."""

    parameters: tuple[str, ...]
    says: frozenset[tuple[str, str]]

    def filled(self, call: ast.Call, texts: "Texts") -> frozenset[tuple[str, str]]:
        """Messages and remedies of a call."""
        given = dict(zip(self.parameters, call.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        words = {f"{{{name}}}": texts.of(given[name]) if name in given else "" for name in self.parameters}
        return frozenset((_replaced(what, words), _replaced(remedy, words)) for what, remedy in self.says)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A call, a raise and the like, and the function around it."""

    node: ast.AST
    function: Function | None


@dataclass(kw_only=True)
class Module:
    """One file: its nodes, the constants at its top, and the full name of what it imports."""

    file: str
    places: list[Place]
    has_remedies: bool
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)

    def full_name(self, name: str) -> str:
        """`damaged` or `damage.damaged` with the module that defines it."""
        first, _, rest = name.removeprefix("self.").partition(".")
        own = f"{self.file.removesuffix('.py').replace('/', '.')}.{first}"
        return ".".join(filter(None, [self.imported.get(first, own), rest]))


class Texts:
    """The words of expressions in a function: variables are followed to what is assigned to them."""

    def __init__(self, function: Function | None, constants: Mapping[str, ast.expr]) -> None:
        self._values = {name: [(0, value)] for name, value in constants.items()}
        self._used: dict[str, list[int]] = {}
        for node in ast.walk(function) if function else ():
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._values.setdefault(node.targets[0].id, []).append((node.lineno, node.value))
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._used.setdefault(node.id, []).append(node.lineno)

    def _assigned(self, name: ast.Name) -> list[ast.expr]:
        """What a variable may hold: what was assigned to it since it was last used, in several branches perhaps."""
        used = max((line for line in self._used.get(name.id, []) if line < name.lineno), default=0)
        values = self._values.get(name.id, [])
        return [value for line, value in values if used <= line < name.lineno] or [value for _, value in values]

    def of(self, node: ast.expr, within: frozenset[str] = frozenset()) -> str:
        """Its words; what only a run can tell as {code}, one text or another as `one | other`."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                return "".join(self.of(part, within) for part in parts)
            case ast.FormattedValue(value=value) | ast.Call(func=ast.Attribute(value=value, attr="format")):
                return self.of(value, within)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.of(left, within) + self.of(right, within)
            case ast.IfExp(body=one, orelse=other):
                return f"{self.of(one, within)} | {self.of(other, within)}"
            case ast.BoolOp(op=ast.Or(), values=values):
                return " | ".join(self.of(value, within) for value in values)
            case ast.Name(id=name) if name not in within:
                texts = [self.of(value, within | {name}) for value in self._assigned(node)]
                return " | ".join(texts) if any(_is_sentence(text) for text in texts) else f"{{{name}}}"
        return f"{{{ast.unparse(node)}}}"


def read_module(root: Path, path: Path) -> Module:
    """The file `path` of the tree in `root`."""
    code = path.read_text()
    tree = ast.parse(code)
    file = path.relative_to(root).as_posix()
    module = Module(file=file, places=list(_places(tree, None)), has_remedies="remed" in code.lower())
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.ImportFrom):
            module.imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return module


def find_reporters(modules: list[Module]) -> dict[str, Reporter]:
    """By full name: what has a parameter `remedy`, and the functions that pass their own parameters on to such."""
    reporters: dict[str, Reporter] = {}
    before = None
    while reporters != before:
        before = dict(reporters)
        for module in modules:
            for place in module.places:
                if isinstance(place.node, DEFINITIONS) and (found := _reporter(place.node, module, before)):
                    reporters[module.full_name(place.node.name)] = found
    return reporters


def find_messages(root: Path) -> list[Message]:
    """All of the programs in `root`, by file and line."""
    paths = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    modules = [read_module(root, path) for path in paths]
    constants = {module.full_name(name): value for module in modules for name, value in module.constants.items()}
    for module in modules:
        module.constants |= {name: constants[full] for name, full in module.imported.items() if full in constants}
    reporters = find_reporters(modules)
    return sorted({message for module in modules for message in _messages(module, reporters)})


def _messages(module: Module, reporters: Mapping[str, Reporter]) -> Iterator[Message]:
    texts: dict[Function | None, Texts] = {}
    for place in module.places:
        if place.function not in texts:
            texts[place.function] = Texts(place.function, module.constants)
        maker = reporters.get(module.full_name(place.function.name)) if place.function else None
        for what, remedy in _said(place.node, texts[place.function], module, reporters):
            is_told_by_callers = maker is not None and _names_any(maker.parameters, (what, remedy))
            if not is_told_by_callers and (_is_sentence(what) or _is_sentence(remedy)):
                yield Message(file=module.file, line=getattr(place.node, "lineno", 0), what=what, remedy=remedy)


def _names_any(parameters: tuple[str, ...], said: tuple[str, str]) -> bool:
    return any(f"{{{name}}}" in text for name in parameters for text in said)


def _said(node: ast.AST, texts: Texts, module: Module, reporters: Mapping[str, Reporter]) -> frozenset[tuple[str, str]]:
    """Pairs of message and remedy of one node."""
    pairs: list[tuple[str, str]] = []
    match node:
        case ast.Call(func=function) if reporter := reporters.get(_called(function, module)):
            pairs = [pair for pair in reporter.filled(node, texts) if pair[1]]
        case ast.Raise(exc=ast.Call(args=[text, *_])) | ast.Call(func=ast.Attribute(attr="exit"), args=[text, *_]):
            is_known = isinstance(node, ast.Raise) and _called(getattr(node.exc, "func", text), module) in reporters
            pairs = [(texts.of(text), "")] if not is_known and MARK not in texts.of(text) else []
        case ast.Tuple(elts=elements):
            sentences = [text for text in map(texts.of, elements) if _is_sentence(text)]
            is_pair = len(sentences) == 2 and not any(re.match("[A-Z][a-z]", text) for text in sentences)
            pairs = [(sentences[0], sentences[1])] if is_pair and module.has_remedies else []
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys, values=values)) if (
            "REMED" in name.upper()
        ):
            pairs = [(texts.of(key), texts.of(value)) for key, value in zip(keys, values, strict=True) if key]
        case ast.JoinedStr() | ast.Constant(value=str()):
            what, _, remedy = texts.of(node).partition(MARK)
            pairs = [(what.strip(" ;\n"), remedy)] if remedy else []
    return frozenset((what or "…", remedy) for what, remedy in pairs)


def _reporter(node: ast.AST, module: Module, reporters: Mapping[str, Reporter]) -> Reporter | None:
    if isinstance(node, ast.ClassDef):
        fields = tuple(ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign))
        made = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
        parameters = _parameters(made[0]) if made else fields
        inherited = [reporters.get(module.full_name(ast.unparse(base))) for base in node.bases]
        return _plain(parameters) if "remedy" in parameters else next(filter(None, inherited), None)
    if not isinstance(node, Function):
        return None
    parameters = _parameters(node)
    if "remedy" not in parameters and not re.search(MAKES_ERRORS, ast.unparse(node.returns or ast.Constant(None))):
        return None
    texts = Texts(node, module.constants)
    says = {
        pair
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func).removeprefix("self.") != node.name
        for pair in _said(call, texts, module, reporters)
        if _names_any(parameters, pair)
    }
    if says:
        return Reporter(parameters=parameters, says=frozenset(says))
    return _plain(parameters) if "remedy" in parameters else None


def _called(function: ast.expr, module: Module) -> str:
    """The full name of what a call calls."""
    return module.full_name(ast.unparse(function)) if isinstance(function, ast.Name | ast.Attribute) else ""


def _plain(parameters: tuple[str, ...]) -> Reporter:
    """What says one of its parameters as the message and another as the remedy."""
    named = [name for name in SUBJECTS if name in parameters]
    what = "{what}" if "what" in named else ": ".join(f"{{{name}}}" for name in named)
    return Reporter(parameters=parameters, says=frozenset([(what, "{remedy}")]))


def _parameters(function: Function) -> tuple[str, ...]:
    return tuple(each.arg for each in [*function.args.args, *function.args.kwonlyargs] if each.arg != "self")


def _places(node: ast.AST, function: Function | None) -> Iterator[Place]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Expr) or not isinstance(child.value, ast.Constant):  # a docstring
            if isinstance(child, SPEAKING):
                yield Place(node=child, function=function)
            if not isinstance(child, ast.JoinedStr):
                yield from _places(child, child if isinstance(child, Function) else function)


def _is_sentence(text: str) -> bool:
    """Whether words are left when the {placeholders} are taken out."""
    while text != (text := re.sub(r"\{[^{}]*\}", "", text)):
        pass
    return re.search(r"[a-z]{2} +\S*[a-z]", text) is not None


def _replaced(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{\w+\}", lambda found: words.get(found[0], found[0]), text)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Print the messages that have the given word, or all."""
    word = " ".join(arguments).lower()
    print("\n\n".join(str(each) for each in find_messages(root) if word in str(each).lower()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
