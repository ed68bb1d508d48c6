"""Installs the guard and runs the stage's module as `python -m` would."""

import os
import runpy
import sys

from .install import install
from .policy import POLICY_VARIABLE
from .report import UNDECLARED_EXIT_CODE, explain


def main() -> None:
    """Run `POLICY.json MODULE ARGUMENTS…`."""
    _, policy_file, module, *_ = sys.argv
    guard = install(policy_file)
    if os.getppid() != guard.policy.launcher_pid:
        sys.exit(UNDECLARED_EXIT_CODE)  # the launcher is gone already: nobody waits for this stage
    os.environ[POLICY_VARIABLE] = policy_file
    sys.argv = sys.argv[2:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BaseException as error:
        if not (isinstance(error, SystemExit) and not error.code):
            explain(guard, error)
        raise


if __name__ == "__main__":
    main()
