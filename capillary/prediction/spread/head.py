"""python -m capillary.prediction.spread.head FILE: the part in FILE as a job, from its submission to its results."""

import sys
from pathlib import Path

from capillary.lifetimes.stop import Stop, listening
from capillary.places.choose import choose_place
from capillary.planning.plan import Dep
from capillary.prediction.plan import OUTPUT, STAGE, RunOf, plan_prediction
from capillary.prediction.running import execute
from capillary.prediction.spread.parts import Part
from capillary.publishing.publish import publish_out
from capillary.settings import read_settings
from stages.common.errors import UsageError
from stages.common.program.ending import run_main
from stages.common.program.messages import print_messages


def run_part(part: Part, stop: Stop) -> int:
    """Run `part` in the place of the settings; returns its exit code. What it leaves comes to `part.target`."""
    settings = read_settings(part.root)
    print_messages(settings.log_level, settings.log_format)
    place = choose_place(part.root, STAGE, settings)
    if place is None:
        raise UsageError(
            "the place of this prediction is no longer configured",
            value=f"CAPILLARY_PLACE={settings.place}",
            remedy=f"name a profile for {STAGE} under `stages` in its file in configs/, then repeat the command",
        )
    reads = tuple(Dep(name=one.name, host=one.host, is_carried=one.is_small) for one in part.reads)
    run = RunOf(address=part.address, hashes=part.traces, deps=reads, limits=place.limits)
    plan = plan_prediction(part.request, part.root, settings, place, run)
    return execute(plan, place, stop, lambda work: publish_out(work, OUTPUT, part.target))


def main() -> None:
    """Run the part of the file that the argument names."""
    part = Part.model_validate_json(Path(sys.argv[1]).read_bytes())
    with listening() as stop:
        sys.exit(run_part(part, stop))


if __name__ == "__main__":
    run_main(main)
