"""pyproject.toml tells the truth: the base is what the host side imports, the extra `stages` what the stages do."""

import ast
import itertools
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.parts import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# distribution → the module that it provides, where the names differ
MODULES = {
    "pyyaml": "yaml",
    "ruamel.yaml": "ruamel",
    "python-dotenv": "dotenv",
    "dvc-data": "dvc_data",
    "pydantic-core": "pydantic_core",
    "pydantic-settings": "pydantic_settings",
    "prometheus-client": "prometheus_client",
    "openlineage-python": "openlineage",
    "nvidia-ml-py": "pynvml",  # loaded by name: an older install lacks it
}
# loaded where a setting asks for it, and said where it is missing: module → the extra that has it
OPTIONAL = {"rocrate": "crate"}
# pinned for a stage's image alone: it is there with pydantic
NOT_IN_STAGES = {"pydantic-core"}


def _names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[\[><=~! ]", line.strip())[0].lower() for line in requirements}


def _host_side() -> list[Path]:
    """Modules that the host side may load: its own, and those that it shares with the stages."""
    names = (
        "atomic",
        "cell_name",
        "epoch_line",
        "errors",
        "held_out",  # preflight asks whether enough are left
        "metrics",
        "params",
        "splits",
        "stage_main",
        "stored",
    )
    of_lifetimes = (f"lifetimes/{name}" for name in ("__init__", "locks", "shutdown", "signals"))
    of_programs = (f"program/{name}" for name in ("__init__", "console", "ending", "messages", "progress"))
    of_runs = ("runtime", "text", "provenance/__init__", "provenance/record")
    headers = ("spacing", "formats/__init__", "formats/header")  # what can be a spacing
    of_imaging = (
        f"imaging/{name}"
        for name in ("__init__", "labels/__init__", "labels/rule", "recipe", "suffixes", "zyx", *headers)
    )
    of_spool = ("spool/__init__", "spool/plain")
    of_tracking = (f"tracking/{name}" for name in ("__init__", "address", "database_file", "names", *of_spool))
    of_networks = (f"networks/{name}" for name in ("__init__", "kernel_rule"))
    files = (*names, *of_lifetimes, *of_programs, *of_runs, *of_imaging, *of_tracking, *of_networks)
    shared = [REPOSITORY / "stages" / "common" / f"{file}.py" for file in files]
    shared += (REPOSITORY / "stages" / "common" / "dataset").glob("*.py")  # how people write down a set
    shared += (REPOSITORY / "stages" / "common" / "machine").glob("*.py")
    checks = (REPOSITORY / "stages" / "common" / "preflight").rglob("*.py")  # the same on a machine and in a container
    requests = (REPOSITORY / "stages" / "common" / "requests").rglob("*.py")
    root = REPOSITORY / "stages" / "__init__.py"  # where the code is that a job takes along
    params = (REPOSITORY / "stages").glob("*/params.py")
    return [*(REPOSITORY / "capillary").rglob("*.py"), *shared, *checks, *requests, *params, root]


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def test_the_base_is_what_the_host_side_imports() -> None:
    """Whoever installs the base alone (the image dvc-runner does) has all that the host side loads."""
    imported = {name.split(".")[0] for file in _host_side() for name in _imports(file)}
    base = {MODULES.get(name, name) for name in _names(PROJECT["dependencies"])} | {"pydantic_core"}
    assert imported - sys.stdlib_module_names - {"capillary", "stages"} - OPTIONAL.keys() <= base
    for module, extra in OPTIONAL.items():
        assert any(name.startswith(module) for name in _names(PROJECT["optional-dependencies"][extra]))


def test_the_host_side_loads_only_light_modules_of_the_stages() -> None:
    """No module of a stage comes along with the host side but those that this test looks through."""
    modules = (".".join(file.relative_to(REPOSITORY).with_suffix("").parts) for file in _host_side())
    looked_through = {name.removesuffix(".__init__") for name in modules}
    loaded = {name for file in _host_side() for name in _imports(file) if name.split(".")[0] == "stages"}
    assert loaded <= looked_through


def test_the_extra_stages_covers_every_stage() -> None:
    """A checkout with the base and `stages` runs each stage as a plain process."""
    have = _names(PROJECT["dependencies"]) | _names(PROJECT["optional-dependencies"]["stages"])
    for file in (REPOSITORY / "stages").glob("*/requirements.txt"):
        wanted = _names(line for line in file.read_text().splitlines() if line and not line.startswith("#"))
        assert wanted - NOT_IN_STAGES <= have, file


def test_the_service_has_what_predict_needs() -> None:
    """Its image reads what evaluate's image reads, in the same versions."""
    evaluate, service = (
        {line for line in file.read_text().splitlines() if line and not line.startswith("#")}
        for file in (REPOSITORY / "stages/evaluate/requirements.txt", REPOSITORY / "serving/requirements.txt")
    )
    assert evaluate <= service


def test_every_pinned_package_takes_the_oldest_python() -> None:
    """Debian 12 has Python 3.11.2: a pin that asks for more ends the set-up in pip's words about a conflict."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    asking = (found for found in metadata.distributions() if "Requires-Python" in found.metadata)
    wanted = {found.name: found.metadata["Requires-Python"] for found in asking}
    there = {"python_full_version": oldest, "python_version": oldest.rpartition(".")[0]}
    lines = itertools.chain.from_iterable(PROJECT["optional-dependencies"].values())
    left_out = {each.name for line in lines if (each := Requirement(line)).marker and not each.marker.evaluate(there)}
    refused = {name for name, says in wanted.items() if not SpecifierSet(says).contains(oldest)}
    assert refused - left_out == set()
