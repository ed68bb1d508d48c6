"""python -m capillary.cache.prefetch CELL…: results of others into DVC's cache, before an experiment's cells start.

So no job is submitted for a cell that somebody has computed, and DVC itself takes its outs. A cell that somebody
finishes later is fetched by its own stage (launcher/run.py).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from capillary.cache.shared import open_shared
from capillary.dvc.errors import DvcException
from capillary.dvc.graph import Entry
from capillary.lifetimes.stop import Stop, listening
from capillary.settings import Settings, read_settings
from stages.common.errors import CapillaryError
from stages.common.program.ending import run_main
from stages.common.program.messages import get_logger, print_messages

log = get_logger(__name__)


def prefetch(root: Path, cells: Sequence[str], settings: Settings, stop: Stop) -> list[str]:
    """Fetch the results of those of `cells` that `dvc repro` would compute; returns which. Ends with the first warning
    that the remote does not answer.
    """
    fetched = []
    for cell in cells:
        if stop.asked is not None:
            break
        try:
            entry = Entry(root, cell)
            shared = open_shared(root, root, entry, settings, stop) if entry.is_due() else None
        except (CapillaryError, DvcException):
            continue  # its own run meets the same, and says so
        if shared is None:
            continue
        if shared.fetch() is not None:
            fetched.append(cell)
        if shared.has_warned:
            break
    if fetched:
        log.info(f"fetched from the shared cache: {', '.join(fetched)}")
    return fetched


def main() -> None:
    """Fetch for the cells that the arguments name, of the project in the working folder."""
    root = Path.cwd()
    settings = read_settings(root)
    print_messages(settings.log_level, settings.log_format)
    with listening() as stop:
        prefetch(root, sys.argv[1:], settings, stop)


if __name__ == "__main__":
    run_main(main)
