"""Many stacks as jobs of a place: some stacks in each, whose results are published when the job ends."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capillary.lifetimes.stop import Stop
from capillary.prediction.output.publisher import Publisher
from capillary.prediction.output.records import History
from capillary.prediction.plan import OUTPUT
from capillary.prediction.spread.heads import Heads
from capillary.prediction.spread.parts import Part, address_of, cut, folder_of
from capillary.prediction.spread.traces import shared_traces, traces_of
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.messages import get_logger
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.text import counted

log = get_logger(__name__)

if TYPE_CHECKING:
    from capillary.places.choose import Jobs

MOST_STACKS = 16  # of one job


def spread_stacks(
    request: PredictRequest, root: Path, stop: Stop, jobs: "Jobs", hidden: Path, history: History
) -> tuple[dict[str, int], int]:
    """(how many stacks ended how, exit code): each stack of `request` predicted by a job, and published.

    The exit code is that of the request to stop, or of the first job that failed.
    """
    parts = parts_of(request, root, jobs.most, hidden / "parts")
    log.info(
        f"{counted(len(request.stacks), 'stack')} in {counted(len(parts), 'job')}, at most {jobs.most} at once; "
        f"{jobs.described}"
    )
    heads = Heads(jobs.most, hidden / "work")
    taking = Taking(request, hidden, history)
    failed = 0
    with stop.passed_on(heads.ask, lambda: None, 0.0):
        for part, code in heads.run(parts):
            if code == 0:
                taking.take(part)
            failed = failed or code
    return taking.counts, stop.exit_code or failed


def parts_of(request: PredictRequest, root: Path, jobs: int, folder: Path) -> list[Part]:
    """The parts of `request`, whose results come to `folder`."""
    assert request.folder is not None
    folder.mkdir(exist_ok=True)
    shared = shared_traces(request, root)
    found = []
    for number, stacks in enumerate(cut(request.stacks, MOST_STACKS, jobs), start=1):
        asked = request.model_copy(update={"stacks": tuple(stacks), "folder": Path(OUTPUT), "is_part": True})
        traces = traces_of(asked, shared)
        address = address_of(request.folder, str(number))
        target = folder_of(folder, address, traces)
        found.append(Part(root=root, address=address, request=asked, traces=traces, target=target))
    return found


class Taking:
    """Publishes the results of parts one after the other."""

    def __init__(self, request: PredictRequest, hidden: Path, history: History) -> None:
        assert request.folder is not None
        self._folder, self._hidden, self._history = request.folder.absolute(), hidden, history
        self.counts = {"done": 0, "unchanged": 0, "failed": 0}

    def take(self, part: Part) -> None:
        """Publish what `part` left, and remove the rest. Raises CapillaryError where it left no word of a stack."""
        taken = self._hidden / "taken" / part.target.name
        taken.mkdir()
        stacks = part.request.stacks
        publisher = self._publisher(stacks, part.target, taken)
        before = sum(self.counts.values())
        publisher.take()
        self._history = publisher.history
        if sum(self.counts.values()) != before + len(stacks):
            raise CapillaryError(
                f"the job of {part.address} ended well without a result of each of its stacks",
                remedy="this is a defect; report it, and repeat the command with --resume",
                code=ExitCode.UNEXPECTED,
            )
        shutil.rmtree(part.target)
        shutil.rmtree(taken)

    def _publisher(self, stacks: Sequence[StackRequest], work: Path, taken: Path) -> Publisher:
        return Publisher(
            stacks=tuple(stacks),
            folder=self._folder,
            work=work,
            taken=taken,
            history=self._history,
            counts=self.counts,
        )
