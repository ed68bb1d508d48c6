from pathlib import Path

import pytest

from capillary.experiments.config import ExperimentConfig
from capillary.experiments.record import choose_name, free_name, read_record, write_record
from capillary.experiments.sections import Debug, ExperimentHead, Sections
from stages.common.errors import DamagedError


def config(*, debug: bool = False, **overrides: object) -> ExperimentConfig:
    sections = Sections(experiment=ExperimentHead(name="v"), debug=Debug(enabled=debug))
    return ExperimentConfig(sections=sections, overrides=overrides)


def test_a_name_that_is_taken_gets_the_next_number() -> None:
    """Every run of an experiment file stays comparable with the others."""
    assert free_name("vesselnn", set()) == "vesselnn"
    assert free_name("vesselnn", {"vesselnn", "vesselnn-3"}) == "vesselnn-2"
    assert free_name("vesselnn", {"vesselnn", "vesselnn-2"}) == "vesselnn-3"


@pytest.mark.parametrize(
    ("finished", "unchanged", "same_overrides", "name"),
    [
        (False, False, True, "v-7"),  # interrupted: continues
        (True, True, True, "v-7"),  # complete, nothing to do
        (True, False, True, "v"),  # complete, but code or data have changed since
        (False, False, False, "v"),  # the file has changed since
    ],
)
def test_the_same_command_goes_on_under_the_same_name(
    tmp_path: Path, finished: bool, unchanged: bool, same_overrides: bool, name: str
) -> None:
    """What makes another experiment of it gets another name."""
    write_record(tmp_path, config(a=1), "v-7", finished=finished)
    now = config(a=1 if same_overrides else 2)
    assert choose_name(now, read_record(tmp_path, now), unchanged=unchanged, taken={"v-7"}) == name


def test_the_first_run_takes_the_files_name(tmp_path: Path) -> None:
    """Nothing is remembered yet."""
    assert read_record(tmp_path, config()) is None
    assert choose_name(config(), None, unchanged=True, taken=set()) == "v"


def test_overrides_are_the_same_in_any_order(tmp_path: Path) -> None:
    """Moving a line in the file makes no other experiment of it."""
    write_record(tmp_path, config(a=1, b=2), "v-7", finished=False)
    record = read_record(tmp_path, config())
    assert choose_name(config(b=2, a=1), record, unchanged=False, taken={"v-7"}) == "v-7"


def test_a_rehearsal_has_a_record_of_its_own(tmp_path: Path) -> None:
    """It leaves the interrupted real run to be resumed, and the other way round."""
    write_record(tmp_path, config(debug=True), "v-debug-2", finished=True)
    assert read_record(tmp_path, config()) is None
    write_record(tmp_path, config(), "v", finished=False)
    found = [read_record(tmp_path, config(debug=debug)) for debug in (False, True)]
    assert [(record.name, record.finished) for record in found if record] == [("v", False), ("v-debug-2", True)]


@pytest.mark.parametrize("torn", ['{"name": "v"', "[]", '{"other": 1}', "\udcff"])
def test_a_damaged_record_is_named_with_its_remedy(tmp_path: Path, torn: str) -> None:
    """It is left as it is; without it the experiment runs under another name."""
    write_record(tmp_path, config(), "v-7", finished=True)
    file = tmp_path / ".capillary/experiments/v.json"
    file.write_bytes(torn.encode(errors="surrogateescape"))
    with pytest.raises(DamagedError, match="cannot be read") as refused:
        read_record(tmp_path, config())
    assert refused.value.file == file
    assert file.exists()
    file.unlink()
    assert read_record(tmp_path, config()) is None
