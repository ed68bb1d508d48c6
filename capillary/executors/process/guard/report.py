"""What a user reads when a stage failed on what it was refused."""

import signal
import sys
import traceback

from .hook import Guard

UNDECLARED_EXIT_CODE = 5
STOPPED_EXIT_CODES = {128 + signal.SIGINT, 128 + signal.SIGTERM}
MOST_SHOWN = 5


def explain(guard: Guard, error: BaseException) -> None:
    """Report what was refused when `error` comes from it, through whichever errors the stage or a library made of it.

    The text of a refusal is all that crosses from worker processes. When the stage failed for another reason, what was
    refused on the way is only mentioned (libraries try places and do without), and not where it was asked to stop.
    """
    before = guard.refused()  # showing the error's lines may be refused in its turn, which is nobody's concern
    told = "".join(traceback.format_exception(error))
    if fatal := {text: line for text, line in before.items() if text in told}:
        sys.stderr.write(report(guard.policy.address, fatal) + "\n")
        sys.exit(UNDECLARED_EXIT_CODE)
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code in STOPPED_EXIT_CODES):
        return
    for text, line in list(before.items())[:MOST_SHOWN]:
        sys.stderr.write(f"note: the stage was refused access earlier: {text}{line}\n")


def report(address: str, refused: dict[str, str]) -> str:
    """The error, each refusal with its line of code, and the remedy."""
    lines = ["error: the stage tried to use what dvc.yaml does not declare"]
    lines += [f"  what:   {text}{line}" for text, line in list(refused.items())[:MOST_SHOWN]]
    stage = address.split("@")[0]
    lines.append(
        f"  remedy: declare it under stages.{stage} in dvc.yaml (deps, outs; the network in configs/stages.yaml), "
        "or do not use it"
    )
    return "\n".join(lines)
