"""A workspace for `capillary predict`, and a stage that leaves what the real one would, without any network."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from capillary.compute.hardware import Hardware
from capillary.lifetimes.stop import Stop
from capillary.places.choose import Jobs
from capillary.planning.plan import StagePlan
from capillary.prediction.spread.parts import Part
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits, find_limits
from stages.common.requests.prediction.grid import choose_block, chunk_files
from stages.common.requests.prediction.records import SURVEY_FILE, BlockResult, BlockResults, BlockSurvey
from stages.common.requests.prediction.request import PredictRequest
from stages.common.requests.prediction.results import Results, StackResult
from tests.support.parts import REPOSITORY

SHAPE = (40, 300, 600)
META = (".zgroup", ".zattrs", "0/.zarray")
JOBS = Jobs(most=2, hardware=Hardware(gpus=(), limits=find_limits()), described="jobs of a test")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with one card and six stacks in scans/, and without settings of this machine."""
    for name in ("params.yaml", "dvc.yaml", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for name in ("common", "predict"):  # the code of the stage, of which a job needs the hash
        (tmp_path / "stages" / name).mkdir(parents=True)
    (tmp_path / "stages" / "__init__.py").touch()
    (tmp_path / "models" / "dice_ce").mkdir(parents=True)
    (tmp_path / "models" / "dice_ce" / "fold_0.json").write_text("{}")
    (tmp_path / "scans").mkdir()
    for name in "abcdef":
        (tmp_path / "scans" / f"{name}.tif").write_bytes(b"stack")
    (tmp_path / "big.ome.zarr").mkdir()
    (tmp_path / "big.ome.zarr" / ".zattrs").write_text("{}")
    for name in [name for name in os.environ if name.startswith("CAPILLARY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class FakeStage:
    """An executor, and heads of jobs, whose stage fails on the stacks of `broken` and ends after `blocks` blocks."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.asked: list[PredictRequest] = []
        self.broken: tuple[str, ...] = ()
        self.blocks = 10**6
        self.codes: dict[str, int] = {}
        self.strays: tuple[str, ...] = ()

    def environment_id(self, *_: object) -> list[str]:
        return []

    def gpus(self, _settings: object) -> tuple[Gpu, ...]:
        return ()

    def limits(self) -> Limits:
        return find_limits()

    def execute(self, plan: StagePlan, _stop: Stop, publish: Callable[[Path], None]) -> int:
        """Satisfies executors.choose.Executor."""
        places = {dep.name: dep.host for dep in plan.deps}
        request = PredictRequest.model_validate_json(json.dumps(plan.order.request))
        work = self.scratch / str(len(self.asked))
        code = self.work(request, work, places.get(SURVEY_FILE))
        if code == 0:
            publish(work)
        return code

    def run(self, parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
        """Satisfies Heads.run."""
        for part in parts:
            code = self.codes.get(part.address, 0)
            if code == 0:
                reads = {one.name: one.host for one in part.reads}
                work = self.scratch / part.target.name
                self.work(part.request, work, reads.get(SURVEY_FILE))
                (work / "prediction").rename(part.target)
            yield part, code

    def ask(self, _number: int) -> None:
        """Satisfies Heads.ask."""

    def work(self, request: PredictRequest, work: Path, survey: Path | None) -> int:
        """What the stage leaves in `work`, or where the request says; its exit code."""
        self.asked.append(request)
        folder = work / (request.folder or "prediction")
        folder.mkdir(parents=True, exist_ok=True)
        if request.blocks is None:
            return self._stacks(request, folder)
        if request.blocks.step == "survey":
            return self._survey(request, folder)
        if request.blocks.step == "join":
            (stack,) = request.stacks
            for file in (stack.mask, stack.picture) if request.blocks.cleans else (stack.picture,):
                (work / str(file)).write_text("joined")
            return 0
        assert survey is not None
        return self._blocks(request, folder, BlockSurvey.model_validate_json(survey.read_bytes()))

    def _stacks(self, request: PredictRequest, folder: Path) -> int:
        with Results(folder) as results:
            for number, stack in enumerate(request.stacks):
                if stack.image.name in self.broken:
                    results.append(StackResult(number=number, status="failed", words=("cut; copy it again",)))
                    continue
                if stack.made_as == "key":
                    results.append(StackResult(number=number, status="unchanged", key="key"))
                    continue
                (folder / f"{number:05}").mkdir()
                (folder / f"{number:05}" / stack.mask.name).write_text(f"mask of {stack.image.name}")
                results.append(StackResult(number=number, status="done", key="key"))
        return 0

    def _survey(self, request: PredictRequest, folder: Path) -> int:
        assert request.blocks is not None
        block = choose_block(SHAPE, (4, 16, 16), request.blocks.wanted_zyx)
        found = BlockSurvey(
            shape_zyx=SHAPE, spacing_um=(1.0, 1.0, 1.0), block_zyx=block, offset=0.1, divisor=0.3, clip=True, method="m"
        )
        (folder / SURVEY_FILE).write_text(found.model_dump_json())
        return 0

    def _blocks(self, request: PredictRequest, folder: Path, survey: BlockSurvey) -> int:
        assert request.blocks is not None
        stack = request.stacks[0]
        names = [file.name for file in (stack.mask, stack.probability) if file is not None]
        with BlockResults(folder) as results:
            for done, number in enumerate(request.blocks.numbers):
                if done == self.blocks:
                    return 143
                files = chunk_files(survey.grid.box(number), SHAPE)
                for file in [*META, *files, *self.strays]:
                    for name in names:
                        (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
                        (folder / name / file).write_text(f"block {number}")
                results.append(BlockResult(number=number, vessel_voxels=10))
        return 0


@pytest.fixture
def stage(tmp_path: Path) -> FakeStage:
    """A stage that works."""
    return FakeStage(tmp_path / "scratch")
