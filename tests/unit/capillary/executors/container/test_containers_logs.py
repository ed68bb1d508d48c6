from pathlib import Path

import pytest

from capillary.executors.container.logs import KEPT_RUNS, Log, not_found


def test_logs_are_kept_a_file_a_run_and_not_for_ever(tmp_path: Path) -> None:
    """The last runs of each stage; another stage's stay."""
    (tmp_path / "other-20260101T000000-1.log").touch()
    for second in range(KEPT_RUNS + 3):
        (tmp_path / f"train@a-20260101T0000{second:02d}-1.log").touch()
    log = Log(tmp_path, "train@a")
    log.take(1, b"line\n")
    log.close()
    assert log.file.read_bytes() == b"line\n"
    kept = [tmp_path / f"train@a-20260101T0000{second:02d}-1.log" for second in range(4, KEPT_RUNS + 3)]
    assert sorted(tmp_path.glob("train@a-*")) == [*kept, log.file]
    assert (tmp_path / "other-20260101T000000-1.log").exists()


def test_few_logs_are_all_kept(tmp_path: Path) -> None:
    """Nothing is removed before there are too many."""
    for second in range(KEPT_RUNS - 1):
        (tmp_path / f"toy-20260101T0000{second:02d}-1.log").touch()
    Log(tmp_path, "toy").close()
    assert len(list(tmp_path.iterdir())) == KEPT_RUNS


@pytest.mark.parametrize("address", ["toy@a/b", "toy@[a]", "toy@*"])
def test_signs_in_an_address_are_part_of_its_name(tmp_path: Path, address: str) -> None:
    """A matrix item may hold any; it selects no other stage's logs."""
    (tmp_path / "toy@a-20260101T000000-1.log").touch()
    for second in range(KEPT_RUNS):
        (tmp_path / f"{address.replace('/', '-')}-20260101T0000{second:02d}-1.log").touch()
    log = Log(tmp_path, address)
    log.close()
    assert log.file.parent == tmp_path
    assert (tmp_path / "toy@a-20260101T000000-1.log").exists()
    assert len(list(tmp_path.iterdir())) == KEPT_RUNS + 1


def test_output_is_shown_as_it_comes_and_kept(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """stdout and stderr apart on the terminal, together in the file, before the run ends."""
    log = Log(tmp_path / "logs", "toy")
    log.take(1, b"out\n")
    log.take(2, b"err \xff\n")
    assert log.file.read_bytes() == b"out\nerr \xff\n"
    shown = capfdbinary.readouterr()
    assert (shown.out, shown.err) == (b"out\n", b"err \xff\n")
    assert log.tail == b"err \xff\n"
    log.close()


def test_a_full_disk_costs_lines_of_the_log_and_not_the_stage(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once; what comes is still shown. /dev/full takes nothing."""
    with Path("/dev/full").open("wb") as full:
        monkeypatch.setattr(Path, "open", lambda *_, **__: full.raw)
        log = Log(tmp_path, "toy")
        for _ in range(2):
            log.take(1, b"epoch\n")
        log.close()
    shown = capfdbinary.readouterr()
    assert shown.out == b"epoch\n" * 2
    assert shown.err.count(b"lacks lines") == 1


def test_the_last_of_stderr_is_remembered(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A stage may print for days."""
    log = Log(tmp_path, "toy")
    log.take(2, b"a" * 65536)
    log.take(2, b"bcd")
    assert log.tail == b"a" * 65533 + b"bcd"
    log.close()


@pytest.mark.parametrize(
    ("tail", "path"),
    [
        (b"FileNotFoundError: [Errno 2] No such file or directory: 'a b/c.txt'\n", "a b/c.txt"),
        (b"No such file or directory: 'one'\n\xff\nNo such file or directory: 'two'\n", "two"),
        (b"FileNotFoundError: nothing named", None),
        (b"", None),
    ],
)
def test_the_missing_file_is_read_from_what_python_printed(tail: bytes, path: str | None) -> None:
    """The last one: an error that was handled comes before."""
    assert not_found(tail) == path
