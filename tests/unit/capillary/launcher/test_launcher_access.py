from pathlib import Path

import pytest

from capillary.launcher.access import is_gate, read_access
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
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('none', 'maybe')}}}", "`gpu`"),
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('null', '0')}}}", "`memory_gb`"),
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('256', '0')}}}", "`pids`"),
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('0.0625', '0')}}}", "`shm_gb`"),
    ],
)
def test_a_wrong_entry_is_refused(root: Path, text: str, what: str) -> None:
    """The message names file, stage and key."""
    write(root, text)
    with pytest.raises(ParamsError, match=what) as caught:
        read_access(root, "toy")
    assert "configs/stages.yaml" in caught.value.report()


def test_an_entry_says_what_a_stage_may_touch(root: Path) -> None:
    """Each key as it is written; a stage has its own image unless it names another's."""
    limits = "gpu: required, memory_gb: 1.5, pids: 7, shm_gb: 0.5"
    write(root, f"toy: {{network: source, env: [A, B_*], resume: true, {limits}}}\nother: {{gate: true}}\n")
    access = read_access(root, "toy")
    assert (access.network, access.env, access.resume, access.gpu) == ("source", ("A", "B_*"), True, "required")
    assert (access.memory_gb, access.pids, access.shm_gb, access.image) == (1.5, 7, 0.5, None)
    assert not is_gate(root / "elsewhere", "toy")
    assert (is_gate(root, "toy"), is_gate(root, "other"), is_gate(root, "third")) == (False, True, False)
    write(root, f"toy: {{network: none, env: [], resume: false, {limits}, image: other}}\n")
    assert read_access(root, "toy").image == "other"
