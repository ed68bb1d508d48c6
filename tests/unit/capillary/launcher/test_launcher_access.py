from pathlib import Path

import pytest

from capillary.launcher.access import read_access
from stages.common.errors import ParamsError
from tests.support.parts import REPOSITORY
from tests.support.toy import LIMITS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    return tmp_path


def write(root: Path, text: str) -> None:
    (root / "configs" / "stages.yaml").write_text(text)


@pytest.mark.parametrize("stage", ["ingest", "preprocess", "preflight", "train", "evaluate"])
def test_every_stage_of_this_repository_has_an_entry(stage: str) -> None:
    """What a stage may touch is written down for each."""
    assert read_access(REPOSITORY, stage).network in {"none", "source", "tracking"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tox: {network: none, env: [], resume: true}", "no entry `toy`; did you mean `tox`"),
        (f"toy: {{network: all, env: [], resume: true, {LIMITS}}}", "`network`"),
        (f"toy: {{network: none, env: [], resume: 1, {LIMITS}}}", "`resume`"),
        (
            f"toy: {{network: none, env: [], resum: true, resume: true, {LIMITS}}}",
            "unknown key `resum`; did you mean `resume`",
        ),
        (f"toy: {{network: none, env: [], {LIMITS}}}", "`resume`"),
    ],
)
def test_a_wrong_entry_is_refused(root: Path, text: str, what: str) -> None:
    """The message names file, stage and key."""
    write(root, text)
    with pytest.raises(ParamsError, match=what) as caught:
        read_access(root, "toy")
    assert "configs/stages.yaml" in caught.value.report()
