"""The entry point: the command that DVC starts for every cell goes past the command line's framework."""

import os
import sys

from capillary.lifetimes.interrupts import heed_interrupts
from capillary.secret_files import keep_private
from stages.common.program.ending import run_main


def main() -> None:
    """`capillary stage NAME ARGS` at once; anything else by typer, whose import costs a sixth of a stage's start."""
    heed_interrupts()
    keep_private(os.environ)
    match sys.argv[1:]:
        case ["stage", name, *arguments] if not name.startswith("-") and "--help" not in arguments:
            from capillary.launcher.command import run_command

            run_main(lambda: run_command([name, *arguments]))
        case _:
            from capillary.cli import app

            run_main(app)


if __name__ == "__main__":
    main()
