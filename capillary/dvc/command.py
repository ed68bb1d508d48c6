"""python -m capillary.dvc.command: DVC with two changes, so that a kill at any moment leaves its files whole, and
that hundreds of cells in dvc.lock do not slow each one down (integrity/fast_lock.py).

DVC empties dvc.lock and then writes it again, which takes tens of milliseconds: who is killed meanwhile leaves half of
it, and with it the record of stages that had long finished. Half of its list of the paths in use (.dvc/tmp/rwlock)
stops every other DVC in the project. Here a new file is written next to the former one and takes its place in one step.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from dvc import rwlock
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


class WholeFiles:
    """As much of DVC's file system `fs` as its list of paths needs; what is written replaces a file in one step."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def join(self, *names: str) -> str:
        """As DVC's."""
        path: str = self._fs.join(*names)
        return path

    @contextlib.contextmanager
    def open(self, path: str, mode: str = "r", **options: Any) -> Iterator[IO[str]]:
        """A text file."""
        if mode != "w":
            with self._fs.open(path, mode, **options) as stream:
                yield stream
            return
        written = io.StringIO()
        yield written
        with atomic_write(Path(path)) as file:
            file.write(written.getvalue().encode())


def main() -> None:
    """Run DVC's command line."""
    if not callable(edit := getattr(rwlock, "_edit_rwlock", None)):
        raise ImportError(f"{rwlock.__name__} has no _edit_rwlock: this version of DVC keeps its list elsewhere")
    rwlock._edit_rwlock = lambda folder, fs, hardlink: edit(folder, WholeFiles(fs), hardlink)
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
