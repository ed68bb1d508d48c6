"""How a stage's program starts and ends."""

from collections.abc import Callable

from stages.common.program.ending import run_main
from stages.common.program.messages import print_messages
from stages.common.runtime import BY_HAND, StageOrder, read_order


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`, with the messages that its order asks for. A foreseen failure ends with its report."""

    def told() -> None:
        tell_as(read_order())
        main()

    run_main(told)


def tell_as(order: StageOrder) -> None:
    """From now on print the messages that `order` asks for."""
    print_messages(order.messages.level, order.messages.form, "" if order.stage == BY_HAND else order.stage)
