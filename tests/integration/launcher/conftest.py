import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.toy import ToyProject

MAIN = """
import json
from pathlib import Path
import yaml
from stages.common.program.ending import run_main
from stages.toy import modes


def main():
    mode = yaml.safe_load(Path("params.yaml").read_text())["toy"]["mode"]
    modes.OUT.mkdir()
    (modes.OUT / "made.txt").write_text("made")
    getattr(modes, mode)(Path(json.loads(Path("order.json").read_text())["state_dir"]))


if __name__ == "__main__":
    run_main(main)
"""
HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path

ROOT = os.environ.get("TOY_ROOT", "")
OUT = Path("data/out" + (sys.argv[2] if "--cell" in sys.argv else ""))

"""

MakeToy = Callable[..., ToyProject]


@pytest.fixture
def make_toy(tmp_path: Path) -> MakeToy:
    """A toy project whose stage has the modes of the given source; each is a function of the state folder."""

    def make(modes: str, folder: str = "toy") -> ToyProject:
        toy = ToyProject(tmp_path / folder)
        (toy.root / "stages/toy/__main__.py").write_text(MAIN)
        (toy.root / "stages/toy/modes.py").write_text(HEAD + textwrap.dedent(modes))
        return toy

    return make
