"""The steps of one stack's blocks, as runs of the stage on this machine or in jobs."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.planning.plan import Dep
from capillary.prediction.blocks.kept import Kept
from capillary.prediction.blocks.merging import merge
from capillary.prediction.plan import OUTPUT, RunOf, plan_prediction
from capillary.prediction.running import Runner, execute
from capillary.prediction.spread.heads import Heads
from capillary.prediction.spread.parts import Carried, Part, address_of, cut, folder_of
from capillary.prediction.spread.traces import traces_of
from capillary.publishing.publish import publish_out
from capillary.settings import Settings
from stages.common.program.messages import get_logger
from stages.common.requests.prediction.records import ASSEMBLED, SURVEY_FILE, BlockSurvey
from stages.common.requests.prediction.request import BlockWork, PredictRequest, StackRequest
from stages.common.text import counted

log = get_logger(__name__)

MOST_BLOCKS_IN_JOB = 64


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of `request`, whose results come to `kept`. Each returns an exit code. `shared` is in traces.py."""

    request: PredictRequest
    root: Path
    settings: Settings
    runner: Runner
    kept: Kept
    shared: Mapping[str, str]
    stop: Stop

    @property
    def stack(self) -> StackRequest:
        """The one stack."""
        return self.request.stacks[0]

    def survey(self) -> int:
        """Measure the stack, unless a former run did."""
        if self.kept.survey() is not None:
            return 0
        assert self.request.blocks is not None

        def publish(work: Path) -> None:
            publish_out(work, f"{OUTPUT}/{SURVEY_FILE}", self.kept.survey_file)

        return self._run(self.request, "survey", (), publish)

    def predict(self, survey: BlockSurvey) -> int:
        """Predict the blocks that are missing."""
        done = self.kept.done(survey)
        missing = tuple(number for number in range(survey.grid.count) if number not in done)
        if done and missing:
            log.info(f"{len(done)} of {survey.grid.count} blocks are done; the others follow")
        if not missing:
            return 0
        if self.runner.jobs is not None:
            return self._spread(survey, frozenset(missing))
        asked = self._asked(BlockWork(step="predict", numbers=missing), self.kept.work)
        return self._run(asked, "blocks", (self._survey_dep(),), lambda _work: None)

    def join(self, *, cleans: bool) -> int:
        """Make what needs the whole mask: one without small parts, where it `cleans`, and the picture."""
        if not cleans and self.stack.picture is None:
            return 0
        name = self.stack.mask.name
        mask = Dep(name=f"{ASSEMBLED}/{name}", host=self.kept.work / name)

        def publish(work: Path) -> None:
            for file in (work / OUTPUT).iterdir():
                publish_out(work, f"{OUTPUT}/{file.name}", self.kept.joined / file.name)

        return self._run(self._asked(BlockWork(step="join", cleans=cleans)), "join", (mask,), publish)

    def _run(self, asked: PredictRequest, what: str, reads: tuple[Dep, ...], publish: Callable[[Path], None]) -> int:
        """One run, on this machine or as one job."""
        run = RunOf(deps=reads)
        if self.runner.jobs is not None:
            traces = traces_of(asked, self.shared)
            address = address_of(self.stack.mask, what)
            run = RunOf(address=address, hashes=traces, deps=reads, limits=self.runner.limits)
        plan = plan_prediction(asked, self.root, self.settings, self.runner.executor, run)
        return execute(plan, self.runner.executor, self.stop, publish)

    def _spread(self, survey: BlockSurvey, missing: frozenset[int]) -> int:
        """The blocks in jobs, some in each; what a job leaves is merged when it ends."""
        assert self.runner.jobs is not None
        most = self.runner.jobs.most
        parts = [
            self._part(tuple(numbers), number)
            for number, numbers in enumerate(cut(range(survey.grid.count), MOST_BLOCKS_IN_JOB, most), start=1)
            if not missing.isdisjoint(numbers)
        ]
        log.info(
            f"{counted(len(missing), 'block')} in {counted(len(parts), 'job')}, at most {most} at once; "
            f"{self.runner.jobs.described}"
        )
        heads = Heads(most, self.kept.parts)
        stores = [file.name for file in (self.stack.mask, self.stack.probability) if file is not None]
        failed = 0
        with self.stop.passed_on(heads.ask, lambda: None, 0.0):
            for part, code in heads.run(parts):
                if code == 0 and part.request.blocks is not None:
                    merge(part.target, self.kept, survey, part.request.blocks.numbers, stores)
                    shutil.rmtree(part.target)
                failed = failed or code
        return self.stop.exit_code or failed

    def _part(self, numbers: tuple[int, ...], place: int) -> Part:
        asked = self._asked(BlockWork(step="predict", numbers=numbers), Path(OUTPUT))
        traces = traces_of(asked, self.shared)
        address = address_of(self.stack.mask, str(place))
        return Part(
            root=self.root,
            address=address,
            request=asked,
            traces=traces,
            target=folder_of(self.kept.parts, address, traces),
            reads=(Carried(name=SURVEY_FILE, host=self.kept.survey_file, is_small=True),),
        )

    def _asked(self, work: BlockWork, folder: Path | None = None) -> PredictRequest:
        return self.request.model_copy(update={"blocks": work, "folder": folder})

    def _survey_dep(self) -> Dep:
        return Dep(name=SURVEY_FILE, host=self.kept.survey_file, is_carried=True)
