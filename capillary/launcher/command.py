"""`capillary stage NAME ARGS` as DVC starts it, once per cell."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def run_command(words: Sequence[str]) -> NoReturn:
    """Run the stage `words[0]` with the arguments that follow; leaves with its exit code."""
    from capillary.lifetimes.stop import listening

    with listening() as stop:  # before the imports that take a second: DVC may end at any moment
        from capillary.launcher.run import run_stage

        sys.exit(run_stage(words[0], tuple(words[1:]), os.environ, stop))
