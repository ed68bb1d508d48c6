"""python -m capillary.experiments.dvc: DVC with one change, so that a kill at any moment leaves dvc.lock whole.

DVC empties dvc.lock and then writes it anew, which takes tens of milliseconds: who is killed meanwhile leaves half of
it, and with it the record of stages that had long finished. Here the new file is written beside it and takes its place
in one step.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.cli import main as dvc_main
from dvc.utils.serialize import _common, _yaml

from stages.common.atomic import atomic_write


def replace_file(path: Any, data: Any, dumper: Callable[..., Any], fs: Any = None, **options: Any) -> None:  # noqa: ARG001 - as DVC calls it; its files are this machine's
    """What DVC's `_dump_data` does, in one step."""
    text = io.StringIO()
    dumper(data, text, **options)
    with atomic_write(Path(path)) as stream:
        stream.write(text.getvalue().encode())


def main() -> None:
    """Run DVC's command line."""
    for module in (_common, _yaml):
        if not callable(getattr(module, "_dump_data", None)):
            raise ImportError(f"{module.__name__} has no _dump_data: this version of DVC writes its files elsewhere")
        module._dump_data = replace_file
    sys.exit(dvc_main())


if __name__ == "__main__":
    main()
