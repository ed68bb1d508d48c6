"""python -m stages.bioimageio REFERENCE | --card FILE: one network → package/."""

import argparse
from pathlib import Path

from stages.bioimageio.package import PACKAGE, Labels, write_package
from stages.bioimageio.source import card_of
from stages.common.errors import run_main
from stages.common.registered.loading import load_described
from stages.common.runtime import read_runtime
from stages.common.tracking.server import connect


def main() -> None:
    """Find the network, write the package."""
    parser = argparse.ArgumentParser(prog="python -m stages.bioimageio")
    parser.add_argument("reference", nargs="?")
    parser.add_argument("--card", type=Path)
    parser.add_argument("--author", action="append", default=[])
    parser.add_argument("--license", default="")
    given = parser.parse_args()
    server = connect(read_runtime())
    card = card_of(given.reference, given.card, server)
    labels = Labels(authors=tuple(given.author), license=given.license)
    network, description = load_described(card, server=server)
    write_package(network, description.plan.strides, card, labels, Path(PACKAGE))


if __name__ == "__main__":
    run_main(main)
