"""Two clones of a project and a folder that both call their remote, with DVC as people run it."""

from pathlib import Path

from tests.support.toy import ToyProject


def test_the_second_clone_runs_nothing(tmp_path: Path) -> None:
    """Plain `dvc repro`: the first computes and pushes, the second takes it, and DVC records it as its own."""
    one, other = ToyProject(tmp_path / "one"), ToyProject(tmp_path / "other")
    for each in (one, other):
        with (each.root / ".dvc/config").open("a") as stream:
            stream.write(f"['remote \"lab\"']\n    url = {tmp_path / 'lab'}\n")
    first = one.repro(CAPILLARY_SHARED_CACHE="lab")
    assert first.returncode == 0, first.stderr
    assert "the result of toy is in the shared cache lab" in first.stdout + first.stderr
    (other.root / "data/other.txt").write_text("no dep")
    second = other.repro(CAPILLARY_SHARED_CACHE="lab")
    assert second.returncode == 0, second.stderr
    assert "is in the shared cache: fetched, not computed" in second.stdout + second.stderr
    assert other.out() == "hello\n"
    assert (other.root / "dvc.lock").read_text() == (one.root / "dvc.lock").read_text()
    assert not (other.root / ".capillary/finished").exists()
