"""python -m stages.sync: publish every run that waits in the outbox."""

from dataclasses import replace

from stages.common.registered.publishers import PUBLISHERS
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.common.tracking.runs import destination
from stages.sync.sync import sync


def main() -> None:
    """Publish, also where stages are not to ask a server: the user asks for it now."""
    runtime = replace(read_runtime(), tracking="auto")
    to = destination(runtime, PUBLISHERS)
    assert to is not None, "only offline there is none"
    sync(runtime.outbox, to)


if __name__ == "__main__":
    run_stage(main)
