"""A release's notes: the section of its version, and a refusal where tag, version and changelog disagree."""

from pathlib import Path

import pytest

from scripts.ci import release_notes
from scripts.ci.release_notes import ReleaseError, section, version_of

CHANGELOG = (
    "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.10.0 (2026-12-01)\n\n- ten\n\n## 1.1\n\n- no\n\n## 1.1.0\n\n- one\n"
)


@pytest.mark.parametrize(("version", "notes"), [("1.10.0", "- ten\n"), ("1.1.0", "- one\n")])
def test_the_notes_are_the_version_s_section(version: str, notes: str) -> None:
    """From its heading, with or without a date, to the next; a version is not a pattern, nor the beginning of
    another.
    """
    assert section(CHANGELOG, version) == notes


@pytest.mark.parametrize("changelog", ["# Changelog\n\n## Unreleased\n\n- new\n", "## 2.0.0\n\n## 1.1.0\n\n- one\n"])
def test_a_missing_or_empty_section_is_refused(changelog: str) -> None:
    """No release without notes."""
    with pytest.raises(ReleaseError, match="remedy: rename its section Unreleased"):
        section(changelog, "2.0.0")


def test_the_tag_is_the_version_of_the_package() -> None:
    """Else the wheel would bear another number than the release."""
    assert version_of("v1.2.0rc1", '[project]\nversion = "1.2.0rc1"\n') == "1.2.0rc1"
    with pytest.raises(ReleaseError, match=r"the tag v1\.3\.0 is not the version 1\.2\.0"):
        version_of("v1.3.0", '[project]\nversion = "1.2.0"\n')


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2", "v1.2.0;id", "v1.2.0-dirty"])
def test_a_tag_that_is_no_version_is_refused(tag: str) -> None:
    """It becomes the tag of images."""
    with pytest.raises(ReleaseError, match="remedy: tag as v1"):
        version_of(tag, '[project]\nversion = "1.2.0"\n')


def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and no notes; then the version on standard output, and notes."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    monkeypatch.setattr(release_notes, "ROOT", tmp_path)
    out = tmp_path / "notes.md"
    assert release_notes.main(["v9.9.9", "--out", str(out)]) == 2
    assert not out.exists()
    assert "error: the tag v9.9.9 is not" in capsys.readouterr().err
    assert release_notes.main(["v1.1.0", "--out", str(out)]) == 0
    assert capsys.readouterr().out == "1.1.0\n"
    assert out.read_text() == "- one\n"
