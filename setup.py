"""The one thing that pyproject.toml cannot say: a wheel has the files of samples/iris, for `capillary new`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE = "capillary/new_project"


class BuildWithSample(build_py):
    """Copies the files that sample.txt lists, and no others: who ran the sample has more in its folder."""

    def run(self) -> None:
        """As build_py. A development install finds the files in the checkout; the dvc-runner's image has none."""
        super().run()
        source, target = ROOT / "samples" / "iris", Path(self.build_lib, PACKAGE, "sample")
        if self.editable_mode or not source.is_dir():
            return
        shutil.rmtree(target, ignore_errors=True)
        for name in (ROOT / PACKAGE / "sample.txt").read_text().split():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


setup(cmdclass={"build_py": BuildWithSample})
