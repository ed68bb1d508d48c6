"""Pins that repeat constraints.txt follow it, and the base image gets the digest that its registry tells."""

import subprocess
from pathlib import Path

import pytest

from scripts.ci.pin_base import pin
from scripts.ci.repin import read_pins, relock, repin, updated
from tests.support.parts import REPOSITORY

CONSTRAINTS = """numpy==2.4.7 ; python_full_version < '3.12'
numpy==2.6.0 ; python_full_version >= '3.12'
dvc-s3==3.4.0
torch==2.14.0
"""
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
DOCKER = """#!/bin/sh
[ "$*" = "buildx imagetools inspect --format {{json .Manifest}} python:3.11-slim-bookworm" ] || exit 1
echo '{"digest": "%s"}'
"""


def test_only_versions_change() -> None:
    """The image's Python decides among several; extras, comments and packages of the file alone stay."""
    old = "# numpy==1\nnumpy==2.4.6\nDVC_S3[x]==3.3.0  # why\npsycopg2-binary==2.9.13\n-r more.txt\ntorch==2.13.0"
    new = "# numpy==1\nnumpy==2.4.7\nDVC_S3[x]==3.4.0  # why\npsycopg2-binary==2.9.13\n-r more.txt\ntorch==2.14.0"
    assert repin(old, read_pins(CONSTRAINTS)) == new


def test_a_sample_s_lock_keeps_its_packages() -> None:
    """With a line per interpreter, as constraints.txt has them: the sample runs on each."""
    assert relock("# why\nnumpy==2.4.6\nDVC_s3==3.3.0\n", CONSTRAINTS) == "# why\n" + CONSTRAINTS.partition("torch")[0]


def test_every_file_with_versions_follows() -> None:
    """Of stages, services, serving and samples; what is committed repeats constraints.txt already."""
    listed = subprocess.check_output(["git", "ls-files", "*/requirements.txt", "*/constraints.txt"], cwd=REPOSITORY)
    wanted = updated(REPOSITORY)
    assert {str(file.relative_to(REPOSITORY)) for file in wanted} == set(listed.decode().split())
    assert {file: file.read_text() for file in wanted} == wanted


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base-image file, and a stand-in for `docker` that answers as the registry's client does."""
    (tmp_path / "docker").write_text(DOCKER % DIGEST)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "base-image"


@pytest.mark.parametrize("old", ["", f"@sha256:{'f' * 64}"])
def test_the_base_is_pinned_to_today_s_digest(base: Path, old: str) -> None:
    """The tag stays for people, the digest is what counts."""
    base.write_text(f"python:3.11-slim-bookworm{old}\n")
    pin(base)
    assert base.read_text() == f"python:3.11-slim-bookworm@{DIGEST}\n"


def test_an_answer_without_a_digest_changes_nothing(base: Path) -> None:
    """Better last week's base than none."""
    base.with_name("docker").write_text('#!/bin/sh\necho \'{"digest": "latest"}\'\n')
    base.write_text("python:3.11-slim-bookworm\n")
    with pytest.raises(ValueError, match=r"digest of python:3\.11-slim-bookworm is 'latest'"):
        pin(base)
    assert base.read_text() == "python:3.11-slim-bookworm\n"
