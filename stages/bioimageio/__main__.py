"""python -m stages.bioimageio REFERENCE | --card FILE: one network → package/."""

import argparse
from pathlib import Path

from stages.bioimageio.package import PACKAGE, Labels, write_package
from stages.bioimageio.source import network_of
from stages.common.registered.finding import places_of
from stages.common.registered.loading import load_described
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage


def main() -> None:
    """Find the network, write the package."""
    parser = argparse.ArgumentParser(prog="python -m stages.bioimageio")
    parser.add_argument("reference", nargs="?")
    parser.add_argument("--card", type=Path)
    parser.add_argument("--author", action="append", default=[])
    parser.add_argument("--license", default="")
    given = parser.parse_args()
    found = network_of(given.reference, given.card, places_of(read_runtime()))
    labels = Labels(authors=tuple(given.author), license=given.license)
    network, description = load_described(found)
    write_package(network, description.plan.strides, found.card, labels, Path(PACKAGE))


if __name__ == "__main__":
    run_stage(main)
