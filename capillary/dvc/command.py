"""python -m capillary.dvc.command: DVC with two changes, so that a kill at any moment leaves dvc.lock whole, and
that hundreds of cells in it do not slow each one down (integrity/fast_lock.py).

DVC empties dvc.lock and then writes it again, which takes tens of milliseconds: who is killed meanwhile leaves half of
it, and with it the record of stages that had long finished. Here the new file is written next to it and takes its place
in one step.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.cli import main as dvc_main
from dvc.utils import strictyaml
from dvc.utils.serialize import _common, _yaml

from capillary.integrity.fast_lock import lock_text, parse_with
from capillary.integrity.lock_file import LOCK_FILE
from stages.common.atomic import atomic_write


def replace_file(path: Any, data: Any, dumper: Callable[..., Any], fs: Any = None, **options: Any) -> None:  # noqa: ARG001 - as DVC calls it; its files are this machine's
    """What DVC's `_dump_data` does, in one step."""
    file = Path(path)
    if file.name == LOCK_FILE and not options:
        text = lock_text(data, file.read_text(encoding="utf-8") if file.is_file() else "", dumper)
    else:
        written = io.StringIO()
        dumper(data, written, **options)
        text = written.getvalue()
    with atomic_write(file) as stream:
        stream.write(text.encode())


def main() -> None:
    """Run DVC's command line."""
    for module in (_common, _yaml):
        if not callable(getattr(module, "_dump_data", None)):
            raise ImportError(f"{module.__name__} has no _dump_data: this version of DVC writes its files elsewhere")
        module._dump_data = replace_file
    for module in (_yaml, strictyaml):
        if not callable(getattr(module, "parse_yaml", None)):
            raise ImportError(f"{module.__name__} has no parse_yaml: this version of DVC reads its files elsewhere")
        module.parse_yaml = parse_with(module.parse_yaml)
    sys.exit(dvc_main())


if __name__ == "__main__":
    main()
