"""The service's image: its Dockerfile copies a part of the repository, and that is all that the service imports."""

import ast
import re
from pathlib import Path

from tests.support.parts import REPOSITORY


def _copied() -> set[Path]:
    """The Python files that the Dockerfile copies to /app."""
    lines = re.findall(r"^COPY ([^-].*) /app/\S+$", (REPOSITORY / "serving/Dockerfile").read_text(), re.MULTILINE)
    sources = [REPOSITORY / name for line in lines for name in line.split()]
    return {file for source in sources for file in ([source] if source.is_file() else source.rglob("*.py"))}


def _imported(file: Path) -> set[Path]:
    """The repository's files that `file` imports, with the packages that they are in."""
    names = set[str]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parents = {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}
    bases = (REPOSITORY / Path(*name.split(".")) for name in parents)
    candidates = (each for base in bases for each in (base.with_suffix(".py"), base / "__init__.py"))
    return {each for each in candidates if each.is_file()}


def test_the_image_holds_all_that_its_code_imports() -> None:
    """Else it starts here and not there."""
    copied = _copied()
    missing = {name.relative_to(REPOSITORY) for file in copied for name in _imported(file) - copied}
    assert missing == set()
    assert REPOSITORY / "serving/worker.py" in copied
