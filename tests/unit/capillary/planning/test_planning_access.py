from pathlib import Path

import pytest

from capillary.planning.access import is_gate, read_access, variables_for
from capillary.settings import read_settings
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
        (
            f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('null', '8GB')}}}",
            "`memory_gb`.*none .no limit",
        ),
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('null', 'true')}}}", "`memory_gb`"),
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('256', '0')}}}", "`pids`"),
        (f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('0.0625', '0')}}}", "`shm_gb`"),
        *(
            (f"toy: {{network: none, env: [], env_from: {pair}, resume: true, {LIMITS}}}", "needs one \\* at the end")
            for pair in ("{A_*: B}", "{A: B_*}", "{A_*_*: B_*}", "{A_*: '*B_*'}")
        ),
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


PLAIN = {"AWS_ACCESS_KEY_ID": "plain", "AWS_SESSION_TOKEN": "plain", "HF_TOKEN": "plain"}
SOURCE = {"SOURCE_AWS_ACCESS_KEY_ID": "source", "SOURCE_HF_TOKEN": "source"}
ARTIFACTS = {"ARTIFACTS_AWS_ACCESS_KEY_ID": "artifacts", "ARTIFACTS_AWS_ENDPOINT_URL": "http://store"}
REMOTE = {"REMOTE_AWS_ACCESS_KEY_ID": "remote", "REMOTE_AWS_SECRET_ACCESS_KEY": "remote"}
OF_SOURCE = {"AWS_ACCESS_KEY_ID": "source", "HF_TOKEN": "source"}
OF_ARTIFACTS = {"AWS_ACCESS_KEY_ID": "artifacts", "AWS_ENDPOINT_URL": "http://store"}
PLAIN_AWS = {"AWS_ACCESS_KEY_ID": "plain", "AWS_SESSION_TOKEN": "plain"}


@pytest.mark.parametrize(
    ("given", "ingest", "others"),
    [
        ({}, {}, {}),
        (SOURCE, OF_SOURCE, {}),
        (ARTIFACTS, {}, OF_ARTIFACTS),
        (REMOTE, {}, {}),
        ({**SOURCE, **ARTIFACTS, **REMOTE}, OF_SOURCE, OF_ARTIFACTS),
        (PLAIN, PLAIN, PLAIN_AWS),
        ({**PLAIN, **SOURCE}, OF_SOURCE, PLAIN_AWS),
        ({**PLAIN, **ARTIFACTS}, PLAIN, OF_ARTIFACTS),
        ({**PLAIN, **SOURCE, **ARTIFACTS, **REMOTE}, OF_SOURCE, OF_ARTIFACTS),
        ({**PLAIN, "SOURCE_HF_TOKEN": "source"}, {**PLAIN_AWS, "HF_TOKEN": "source"}, PLAIN_AWS),
    ],
)
def test_each_stage_is_handed_the_credentials_of_its_purpose(
    tmp_path: Path, given: dict[str, str], ingest: dict[str, str], others: dict[str, str]
) -> None:
    """Never two purposes' in one stage, and never a DVC remote's; plain ones where a purpose has none of its own."""
    settings = read_settings(tmp_path, given)
    handed = {stage: variables_for(read_access(REPOSITORY, stage), settings) for stage in STAGES}
    assert handed == {"ingest": ingest, "preprocess": {}, **dict.fromkeys(("train", "evaluate", "predict"), others)}
    without = [variables_for(read_access(REPOSITORY, stage), settings, with_network=False) for stage in STAGES]
    assert without == [{}] * len(STAGES)


def test_a_stage_without_a_network_is_handed_no_login_and_no_proxy(tmp_path: Path) -> None:
    """They may hold passwords, and are of no use to it; what says how to compute or to log stays."""
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HTTPS_PROXY", "no_proxy")
    kept = {"MLFLOW_EXPERIMENT_NAME": "e", "CUDA_VISIBLE_DEVICES": "1"}
    settings = read_settings(tmp_path, {**dict.fromkeys(names, "secret"), **kept})
    access = read_access(REPOSITORY, "train")
    assert set(variables_for(access, settings)) == {*names, *kept}
    assert variables_for(access, settings, with_network=False) == kept


STAGES = ("ingest", "preprocess", "train", "evaluate", "predict")


@pytest.mark.parametrize(("written", "memory_gb"), [("null", None), ("none", "none"), ("2", 2.0), ("0.25", 0.25)])
def test_memory_is_a_number_a_share_or_without_limit(root: Path, written: str, memory_gb: float | str | None) -> None:
    """YAML's null is not the word none."""
    write(root, f"toy: {{network: none, env: [], resume: true, {LIMITS.replace('null', written)}}}")
    assert read_access(root, "toy").memory_gb == memory_gb
