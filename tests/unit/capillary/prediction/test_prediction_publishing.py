"""A batch on the host: what is published, recorded and taken for done."""

import contextlib
import csv
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from capillary.prediction.many import HIDDEN, work_folder
from capillary.prediction.output import publisher
from capillary.prediction.output.existing import settle_existing
from capillary.prediction.output.publisher import MOST_BYTES, Publisher
from capillary.prediction.output.records import RECORDS_FILE, History, read_history
from capillary.prediction.output.table import TABLE_FILE
from capillary.publishing.take_over import take_over
from stages.common.errors import CapillaryError, DamagedError, ExitCode
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.requests.prediction.results import Results, StackResult


class PublishSetup:
    """An output folder, the stacks `names`, and what the stage would leave of them."""

    def __init__(self, root: Path, names: tuple[str, ...] = ("a.tif", "b.tif", "=c.tif")) -> None:
        self.folder = root / "out"
        stacks = tuple(
            StackRequest(
                image=Path("in", name),
                mask=self.folder / name,
                picture=self.folder / Path(name).with_suffix(".png").name,
            )
            for name in names
        )
        self.request = PredictRequest(stacks=stacks, folder=self.folder, resume=True)
        self.hidden = root / "hidden"
        self.start()

    def start(self) -> None:
        """As a new run of the host does."""
        shutil.rmtree(self.hidden, ignore_errors=True)
        for name in ("work", "taken"):
            (self.hidden / name).mkdir(parents=True)
        self.folder.mkdir(exist_ok=True)
        self.publisher = Publisher(
            stacks=self.request.stacks,
            folder=self.folder,
            work=self.hidden / "work",
            taken=self.hidden / "taken",
            history=read_history(self.folder),
        )

    def finish(self, number: int, key: str = "k", content: str = "mask") -> None:
        """The stage has written the files of a stack and says so."""
        own = self.hidden / "work" / f"{number:05}"
        own.mkdir()
        for file in self.request.stacks[number].files:
            (own / file.name).write_text(f"{content} {number}")
        self.tell(StackResult(number=number, status="done", key=key, vessel_share=0.25, shape_zyx=(2, 3, 4)))

    def tell(self, result: StackResult) -> None:
        with Results(self.hidden / "work") as results:
            results.append(result)

    def settle(self, **changes: object) -> list[str | None]:
        """Which stacks are done, by their keys."""
        request = self.request.model_copy(update=changes)
        settled = settle_existing(request, self.folder, read_history(self.folder))
        return [stack.made_as for stack in settled.stacks]

    def table(self) -> list[dict[str, str]]:
        with (self.folder / TABLE_FILE).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def bench(tmp_path: Path) -> PublishSetup:
    """Three stacks, nothing done."""
    return PublishSetup(tmp_path)


def test_a_finished_stack_appears_while_the_others_are_worked_on(bench: PublishSetup) -> None:
    """Its files, a record, and a line in the table; what is not finished stays where it is."""
    bench.finish(0)
    (bench.hidden / "work" / "00001").mkdir()
    (bench.hidden / "work" / "00001" / "b.tif").write_text("ha")
    bench.publisher.take()
    assert sorted(file.name for file in bench.folder.iterdir()) == ["a.png", "a.tif", TABLE_FILE, RECORDS_FILE]
    bench.tell(StackResult(number=1, status="failed", words=("cut",)))
    bench.finish(2)
    bench.publisher.take()
    assert [(row["image"], row["output"], row["status"], row["words"]) for row in bench.table()] == [
        ("in/a.tif", "a.tif", "done", ""),
        ("in/b.tif", "", "failed", "cut"),
        ("in/=c.tif", "'=c.tif", "done", ""),
    ]
    assert bench.publisher.counts == {"done": 2, "unchanged": 0, "failed": 1}
    assert bench.settle() == ["k", None, "k"]


def test_half_a_line_is_left_until_it_is_whole(bench: PublishSetup) -> None:
    """The stage may be writing it."""
    bench.finish(0)
    file = bench.hidden / "work" / "results.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    bench.publisher.take()
    assert not (bench.folder / "a.tif").exists()
    file.write_bytes(content)
    bench.publisher.take()
    assert (bench.folder / "a.tif").exists()


def test_a_kill_between_the_record_and_the_names_costs_that_stack_alone(
    bench: PublishSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is predicted again; a picture that had its name already is known as a run's own."""
    bench.finish(0)
    with monkeypatch.context() as patch:
        patch.setattr("capillary.prediction.output.publisher._give_name", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            bench.publisher.take()
    shutil.copy(bench.hidden / "taken" / "00000" / "a.png", bench.folder)
    assert bench.settle() == [None, None, None]
    with (bench.folder / RECORDS_FILE).open("ab") as stream:
        stream.write(b'{"half a li')
    bench.start()
    bench.finish(0)
    bench.publisher.take()
    assert bench.settle() == ["k", None, None]


def test_a_mask_that_a_person_corrected_is_not_replaced(bench: PublishSetup) -> None:
    """Nor a file that nobody recorded; --force replaces both. Other settings replace what a run wrote."""
    bench.finish(0)
    bench.finish(1)
    bench.publisher.take()
    (bench.folder / "b.tif").write_text("corrected")
    with pytest.raises(CapillaryError, match="was changed since") as raised:
        bench.settle()
    assert (raised.value.code, raised.value.file) == (ExitCode.USAGE, bench.folder / "b.tif")
    assert bench.settle(force=True) == ["k", None, None]
    (bench.folder / "b.tif").unlink()
    assert bench.settle() == ["k", None, None]
    bench.start()
    bench.finish(0, key="other", content="other")
    bench.publisher.take()
    assert bench.settle() == ["other", None, None]
    assert [row["status"] for row in bench.table()] == ["done", "done"]


def test_without_resume_no_file_is_replaced(bench: PublishSetup) -> None:
    """Unless --force is given."""
    bench.finish(0)
    bench.publisher.take()
    with pytest.raises(CapillaryError, match=r"a\.tif and 1 more") as raised:
        bench.settle(resume=False)
    assert "--resume" in raised.value.remedy
    assert bench.settle(resume=False, force=True) == [None, None, None]


def test_a_table_of_the_users_own_is_not_replaced(bench: PublishSetup) -> None:
    """One without records next to it."""
    (bench.folder / TABLE_FILE).write_text("mine")
    with pytest.raises(CapillaryError, match="did not write"):
        bench.settle()


@pytest.mark.parametrize("content", ["[]\n", '{"number": 0}\n', "x\n"])
def test_records_that_cannot_be_read_are_refused(bench: PublishSetup, content: str) -> None:
    """Nothing is taken for done by guessing."""
    (bench.folder / RECORDS_FILE).write_text(content)
    with pytest.raises(DamagedError):
        read_history(bench.folder)


def test_what_the_stage_says_is_not_believed(bench: PublishSetup) -> None:
    """A link in place of a mask, a missing file, and results that nobody asked for end the run."""
    bench.finish(0)
    (bench.hidden / "work" / "00000" / "a.tif").unlink()
    (bench.hidden / "work" / "00000" / "a.tif").symlink_to("/etc/passwd")
    with pytest.raises(CapillaryError, match="holds a link"):
        bench.publisher.take()
    bench.finish(1)
    (bench.hidden / "work" / "00001" / "b.png").unlink()
    with pytest.raises(CapillaryError, match=r"no b\.png"):
        bench.publisher.take()
    bench.tell(StackResult(number=7, status="failed", words=("",)))
    with pytest.raises(CapillaryError, match="result of stack 7"):
        bench.publisher.take()
    assert not (bench.folder / "a.tif").exists()


def test_an_error_of_publishing_asks_the_stage_to_stop(bench: PublishSetup) -> None:
    """And is what the run ends with."""
    asked: list[int] = []
    with pytest.raises(CapillaryError, match="not a result"), bench.publisher.watching(lambda: asked.append(1)):
        (bench.hidden / "work" / "results.jsonl").write_bytes(b"{}\n")
    assert bench.publisher.history == History()


def test_the_work_folder_is_one_runs_own(tmp_path: Path) -> None:
    """A second run at the same time is refused; what a killed one left is removed; nothing stays."""
    out = tmp_path / "new" / "out"
    (out / HIDDEN / "work" / "00000").mkdir(parents=True)
    with work_folder(out) as hidden:
        assert list((hidden / "work").iterdir()) == []
        with pytest.raises(CapillaryError, match="another capillary predict"), work_folder(out):
            pass
    assert list(out.iterdir()) == []
    with work_folder(tmp_path / "other"):
        pass
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    """With the nearest one that exists, before anything is computed; also for root."""
    with pytest.raises(CapillaryError, match="nothing can be written") as raised, work_folder(Path("/proc/far/out")):
        pass
    assert (raised.value.code, raised.value.file) == (ExitCode.MACHINE, Path("/proc"))


@pytest.mark.parametrize("kind", ["link", "link to a folder", "pipe", "folder", "line without end"])
def test_the_list_of_results_may_be_nothing_but_a_file(bench: PublishSetup, tmp_path: Path, kind: str) -> None:
    """No file of the user is read in its place, and nobody waits for a pipe or reads without end."""
    file = bench.hidden / "work" / "results.jsonl"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "line without end":
        file.write_bytes(b"1" * MOST_BYTES)
    else:
        (tmp_path / "key").write_text('{"number": 0, "status": "failed", "words": ["a key"]}\n')
        file.symlink_to(tmp_path if kind == "link to a folder" else tmp_path / "key")
    with pytest.raises(CapillaryError, match="the predict stage left"):
        bench.publisher.take()
    assert list(bench.folder.iterdir()) == []


def test_a_mask_that_is_swapped_for_a_link_while_the_stage_runs_is_not_published(
    bench: PublishSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the folder that the stage keeps open, wherever that is moved: neither shown nor hashed."""
    (tmp_path / "key").write_text("a key")
    bench.finish(0)
    held = os.open(bench.hidden / "work" / "00000", os.O_RDONLY)

    def swap(*words: Any) -> None:
        take_over(*words)
        with contextlib.suppress(FileNotFoundError):  # the folder is gone
            os.symlink(tmp_path / "key", "late", dir_fd=held)
            os.replace("late", "a.tif", src_dir_fd=held, dst_dir_fd=held)

    monkeypatch.setattr(publisher, "take_over", swap)
    bench.publisher.take()
    os.close(held)
    assert not (bench.folder / "a.tif").is_symlink()
    assert (bench.folder / "a.tif").read_text() == "mask 0"
