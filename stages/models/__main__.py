"""python -m stages.models fetch [REFERENCE…] | register (around stages/convert) | provenance REFERENCE."""

import argparse
from pathlib import Path

from stages.common.conversion import CARDS, CONVERTED, FETCHED
from stages.common.errors import run_main
from stages.common.reproduction import FETCHED as PROVENANCE
from stages.common.runtime import read_runtime
from stages.common.tracking.server import connect
from stages.models.fetch import fetch
from stages.models.provenance import fetch_provenance
from stages.models.register import register_all


def main() -> None:
    """Do the step that the launcher asks for."""
    parser = argparse.ArgumentParser(prog="python -m stages.models")
    parser.add_argument("step", choices=["fetch", "register", "provenance"])
    parser.add_argument("references", nargs="*", help="for fetch; none: every version of every model")
    given = parser.parse_args()
    server = connect(read_runtime())
    if given.step == "fetch":
        fetch(given.references, Path(FETCHED), server)
    elif given.step == "provenance":
        fetch_provenance(given.references[0], Path(PROVENANCE), server)
    else:
        register_all(Path(CONVERTED), Path(CARDS), server)


if __name__ == "__main__":
    run_main(main)
