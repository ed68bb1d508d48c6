import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def profiles(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, where no purpose has keys yet."""
    module = load("runner/profiles.py")
    for name in [name for name in os.environ if name.startswith(tuple(module.PROFILES.values()))]:
        monkeypatch.delenv(name)
    return module


def test_keys_of_the_store_become_a_profile(
    profiles: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else may read it, and no process sees them as variables."""
    monkeypatch.setenv("S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", "word")
    profiles.keep_profiles(tmp_path)
    folder = tmp_path / ".aws"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "credentials").stat().st_mode & 0o777 == 0o600
    text = "[team]\naws_access_key_id = key\naws_secret_access_key = word\n"
    assert (folder / "credentials").read_text() == text
    assert (folder / "config").read_text() == "[profile team]\nregion = us-east-1\n"
    assert not {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"} & set(os.environ)


def test_each_purpose_has_a_profile_of_its_own(
    profiles: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remote's are DVC's alone; the source's are DVC's default, and stay for the launcher, which hands them on."""
    for start in ("REMOTE_AWS_", "SOURCE_AWS_"):
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "DEFAULT_REGION", "ENDPOINT_URL"):
            monkeypatch.setenv(start + name, f"{start}{name}".lower())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "plain")
    profiles.keep_profiles(tmp_path)
    assert (tmp_path / ".aws/credentials").read_text() == "".join(
        f"[{profile}]\naws_access_key_id = {start}access_key_id\n"
        f"aws_secret_access_key = {start}secret_access_key\naws_session_token = {start}session_token\n"
        for profile, start in (("remote", "remote_aws_"), ("default", "source_aws_"))
    )
    assert (tmp_path / ".aws/config").read_text() == (
        "[profile remote]\nregion = remote_aws_default_region\nendpoint_url = remote_aws_endpoint_url\n"
        "[default]\nregion = source_aws_default_region\nendpoint_url = source_aws_endpoint_url\n"
    )
    assert not any(name.startswith("REMOTE_AWS_") for name in os.environ)
    assert os.environ["SOURCE_AWS_ACCESS_KEY_ID"] == "source_aws_access_key_id"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "plain"


@pytest.mark.parametrize("start", ["S3_", "REMOTE_AWS_", "SOURCE_AWS_"])
@pytest.mark.parametrize("given", ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"])
def test_half_a_pair_of_keys_is_no_pair(
    profiles: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, given: str
) -> None:
    """A remote's is taken out of the environment all the same."""
    monkeypatch.setenv(start + given, "x")
    profiles.keep_profiles(tmp_path)
    assert not (tmp_path / ".aws").exists()
    assert (start + given in os.environ) == (start == "SOURCE_AWS_")
