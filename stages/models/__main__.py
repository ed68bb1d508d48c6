"""python -m stages.models STEP …: questions about the registry, promotions, and the steps around stages/convert."""

import argparse
from pathlib import Path

from stages.common.program.console import answer_is_for_program
from stages.common.requests.conversion import CARDS, CONVERTED, FETCHED
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.common.tracking.server import Server, connect


def main() -> None:
    """Do the step that the launcher asks for."""
    given = _parser().parse_args()
    if given.step in ("fetch", "register", "provenance"):
        _convert(given, connect(read_runtime()))
        return
    answer_is_for_program()
    _answer(given, connect(read_runtime()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stages.models")
    steps = parser.add_subparsers(dest="step", required=True)
    fetch = steps.add_parser("fetch")
    fetch.add_argument("references", nargs="*", help="none: every version of every model")
    steps.add_parser("register")
    steps.add_parser("provenance").add_argument("reference")
    steps.add_parser("list").add_argument("names", nargs="*", help="names that the project can have")
    steps.add_parser("show").add_argument("reference")
    for name in ("promote", "rollback"):
        decision = steps.add_parser(name)
        decision.add_argument("reference")
        decision.add_argument("--who", required=True)
        decision.add_argument("--reason", required=True)
    compare = steps.add_parser("compare")
    compare.add_argument("one")
    compare.add_argument("other")
    return parser


def _convert(given: argparse.Namespace, server: Server) -> None:
    # here: these need torch, which takes seconds to load
    from stages.common.requests.reproduction import FETCHED as PROVENANCE
    from stages.models.fetch import fetch
    from stages.models.provenance import fetch_provenance
    from stages.models.register import register_all

    if given.step == "fetch":
        fetch(given.references, Path(FETCHED), server)
    elif given.step == "provenance":
        fetch_provenance(given.reference, Path(PROVENANCE), server)
    else:
        register_all(Path(CONVERTED), Path(CARDS), server)


def _answer(given: argparse.Namespace, server: Server) -> None:
    from stages.models.answer import write_answer
    from stages.models.comparing import compare_trainings
    from stages.models.promoting import promote, rollback
    from stages.models.showing import list_models, show

    steps = {
        "list": lambda: list_models(given.names, server),
        "show": lambda: show(given.reference, server),
        "promote": lambda: promote(given.reference, server, who=given.who, reason=given.reason),
        "rollback": lambda: rollback(given.reference, server, who=given.who, reason=given.reason),
        "compare": lambda: compare_trainings(given.one, given.other, server),
    }
    write_answer(steps[given.step]())


if __name__ == "__main__":
    run_stage(main)
