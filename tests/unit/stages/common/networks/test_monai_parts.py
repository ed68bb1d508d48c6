"""MONAI is imported without packages that it would import for parts that nothing uses."""

import importlib
import sys

import pytest

from stages.common.networks.monai_parts import out_of_sight


def test_a_package_is_out_of_sight_and_back_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not it was imported before: the same module as before, or one that can be imported."""
    import colorsys

    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    with pytest.raises(ModuleNotFoundError), out_of_sight(("colorsys", "tabnanny")):
        importlib.import_module("colorsys")
    with pytest.raises(ModuleNotFoundError), out_of_sight(("colorsys", "tabnanny")):
        importlib.import_module("tabnanny")
    assert importlib.import_module("colorsys") is colorsys
    assert importlib.import_module("tabnanny").__name__ == "tabnanny"
