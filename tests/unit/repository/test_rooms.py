"""In each folder of the code, its files and subfolders import one another without loops: each has others below it."""

import ast
import functools
import re
from collections.abc import Iterator, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

from tests.support.parts import REPOSITORY

Edge = tuple[str, str, str]


def _modules() -> dict[str, Path]:
    """Dotted name → file."""
    files = [file for top in ("capillary", "stages") for file in (REPOSITORY / top).rglob("*.py")]
    names = (file.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".") for file in files)
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


MODULES = _modules()


@functools.cache
def _statements(file: Path) -> tuple[list[ast.Import | ast.ImportFrom], list[int]]:
    """The imports anywhere in `file`, and how many lines each of its functions has; each file is parsed once."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)], lengths


def _imported(file: Path) -> Iterator[str]:
    """The modules of this repository that `file` imports, anywhere in it."""
    for node in _statements(file)[0]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in inner)


def edge_between(importing: str, imported: str) -> Edge | None:
    """(the folder that holds both, who in it imports, whom); None for a folder and what is in it."""
    one, other = importing.split("."), imported.split(".")
    depth = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return None if depth is None else (".".join(one[:depth]), one[depth], other[depth])


@functools.cache
def edges() -> frozenset[Edge]:
    """All steps from one file or folder to another in the same folder."""
    pairs = ((name, other) for name, file in MODULES.items() for other in _imported(file) if other in MODULES)
    return frozenset(edge for pair in pairs if (edge := edge_between(*pair)) is not None)


def loop_in(folder: str, among: Set[Edge]) -> list[str] | None:
    """Names in `folder` that import one another in a circle; None if there are none."""
    graph: dict[str, set[str]] = {}
    for _, importing, imported in (edge for edge in among if edge[0] == folder):
        graph.setdefault(importing, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def test_nothing_in_a_folder_imports_in_a_circle() -> None:
    """What two of them share is below both."""
    folders = {edge[0] for edge in edges() if edge[0]}
    loops = {folder: loop_in(folder, edges()) for folder in folders}
    assert {folder: loop for folder, loop in loops.items() if loop} == {}


def test_the_tool_is_above_the_stages() -> None:
    """No stage imports it, and no stage another one; what stages share knows none of them."""
    assert ("", "stages", "capillary") not in edges()
    own = {file.parent.name for file in (REPOSITORY / "stages").glob("*/__main__.py")}
    assert len(own) >= 12
    assert {edge for edge in edges() if edge[0] == "stages" and edge[2] in own} == set()


def test_the_host_side_uses_no_stage_from_inside() -> None:
    """What both need is in stages/common; of a stage only the form of its params."""
    host = (name for name in MODULES if name.split(".")[0] == "capillary")
    used = {other for name in host for other in _imported(MODULES[name]) if other.startswith("stages.")}
    assert {name for name in used if name.split(".")[1] != "common"} == {"stages.predict.params"}


def test_torch_starts_with_the_stages_that_need_networks_alone() -> None:
    """Torch and MONAI take five CPU seconds to import: a report or an upload does not wait for them."""
    mains = {name.split(".")[1]: name for name in MODULES if re.fullmatch(r"stages\.\w+\.__main__", name)}
    found = {stage for stage, main in mains.items() if {"torch", "monai"} & _started(main)}
    assert found == {"bioimageio", "convert", "evaluate", "predict", "train", "weights"}


def _started(main: str) -> set[str]:
    """The outside packages that are imported before the first function of `main` is called."""
    seen, todo = {main}, [main]
    while todo:
        file = MODULES[todo.pop()]
        new = set(_imported_at_once(ast.parse(file.read_text()).body)) - seen
        seen |= new
        todo += new & MODULES.keys()
    return {name.split(".")[0] for name in seen - MODULES.keys()}


def _imported_at_once(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The modules that running `body` imports, with the packages that they are in."""
    for node in body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(name for alias in node.names if (name := f"{node.module}.{alias.name}") in MODULES)]
        elif isinstance(node, ast.Try | ast.With):
            names = list(_imported_at_once(node.body))
        else:
            continue
        for parts in (name.split(".") for name in names):
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def test_dvc_s_api_has_one_room() -> None:
    """A new version of DVC changes code there, and nowhere else."""
    users = {name for name, file in MODULES.items() if any(_is_dvc(other) for other in _all_imports(file))}
    assert users
    assert {name for name in users if not name.startswith("capillary.dvc.")} == set()


def _all_imports(file: Path) -> Iterator[str]:
    for node in _statements(file)[0]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            yield node.module


def _is_dvc(module: str) -> bool:
    return module.split(".")[0] in {"dvc", "dvc_data", "dvc_objects"}


def test_handlers_of_signals_and_locks_have_one_room() -> None:
    """Elsewhere they would follow rules of their own."""
    folders = [REPOSITORY / name for name in ("capillary", "stages", "services", "serving")]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    found = {(call, file.stem) for file in files for call in ("signal.signal(", "flock(") if call in file.read_text()}
    assert found == {("signal.signal(", "signals"), ("flock(", "locks")}


def test_what_is_said_along_z_y_and_x_has_one_home() -> None:
    """A name for three sizes, spacings or slices of its own would mean the same, or nearly."""
    alias = re.compile(r"^\w+ = tuple\[(int|float|float \| None|slice)(, \1){2}\]", re.MULTILINE)
    named = {name for name, file in MODULES.items() if alias.search(file.read_text())}
    assert named == {"stages.common.imaging.zyx"}


def test_functions_stay_short() -> None:
    """What has a name of its own is read once, and is tested by itself."""
    tops = ("capillary", "stages", "serving", "services")
    lines = [length for top in tops for file in (REPOSITORY / top).rglob("*.py") for length in _statements(file)[1]]
    assert median(lines) <= 8
    assert max(lines) <= 60


def test_a_loop_is_found_over_any_number_of_steps() -> None:
    """Also where each step is in another file."""
    assert edge_between("a.b.c", "a.d") == ("a", "b", "d")
    assert edge_between("a.b", "a.b.c") is None
    ring = {("a", "b", "c"), ("a", "c", "d"), ("a", "d", "b")}
    found = loop_in("a", ring)
    assert found is not None
    assert set(found) == {"b", "c", "d"}
    assert loop_in("a", ring - {("a", "d", "b")}) is None
    assert loop_in("other", ring) is None
