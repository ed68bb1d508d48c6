"""`capillary dataset init`."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from capillary.cli import app
from capillary.dataset import init
from capillary.dataset.init import Request, write_draft
from stages.common.errors import CapillaryError
from tests.unit.stages.ingest.made import image_zyx, label_zyx, save_tiff


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """images/ and labels/ with one stack, whose header has no spacing."""
    for folder, stack in (("images", image_zyx(1)), ("labels", label_zyx(1))):
        (tmp_path / folder).mkdir()
        save_tiff(tmp_path / folder / "a.tif", stack)
    return tmp_path


def _request(folder: Path, spacing_um: str | None = None, *, force: bool = False, dry_run: bool = False) -> Request:
    return Request(folder=folder, spacing_um=spacing_um, force=force, dry_run=dry_run)


def test_the_table_is_written_once(source: Path) -> None:
    """With what the command line gives; a second time only by force."""
    done = CliRunner().invoke(app, ["dataset", "init", str(source), "--spacing-um", "5,0.9,1.1"])
    assert done.exit_code == 0
    table = source / "dataset.csv"
    assert table.read_text().splitlines()[1] == "a,images/a.tif,labels/a.tif,5,0.9,1.1,given by hand"
    with pytest.raises(CapillaryError, match=r"already has a dataset\.csv"):
        write_draft(_request(source))
    table.unlink()
    table.symlink_to(source / "images" / "a.tif")
    with pytest.raises(CapillaryError, match="already"):
        write_draft(_request(source))


def test_force_replaces_a_link_and_not_what_it_leads_to(source: Path) -> None:
    """A table that is read through a link stays where it is."""
    (source / "mine.csv").write_text("id,image,label\na,images/a.tif,labels/a.tif\n")
    (source / "dataset.csv").symlink_to("mine.csv")
    write_draft(_request(source, "1,1,1", force=True))
    assert not (source / "dataset.csv").is_symlink()
    assert (source / "mine.csv").read_text().startswith("id,image,label\n")


def test_a_dry_run_prints_the_table_and_writes_nothing(source: Path) -> None:
    """The table on stdout, remarks on stderr; empty cells are said."""
    done = CliRunner().invoke(app, ["dataset", "init", str(source), "--dry-run"])
    assert done.stdout.splitlines()[1:] == ["a,images/a.tif,labels/a.tif,,,,"]
    assert "fill in spacing_z_um, spacing_y_um, spacing_x_um for a" in done.stderr
    assert not (source / "dataset.csv").exists()


@pytest.mark.parametrize(("spacing_um", "is_said"), [("0.9,0.9,5", True), ("5,0.9,0.9", False), ("1,1,1", False)])
def test_a_spacing_in_the_order_x_y_z_is_said(source: Path, spacing_um: str, is_said: bool) -> None:
    """As most programs show it; every distance would be wrong."""
    done = CliRunner().invoke(app, ["dataset", "init", str(source), "--spacing-um", spacing_um, "--dry-run"])
    assert ("x alone is coarser; was it given as x, y, z?" in done.stderr) is is_said


def test_the_label_of_two_is_left_to_the_user(source: Path) -> None:
    """The table that is written does not decide what ingest would refuse to."""
    save_tiff(source / "labels" / "a_gt.tif", label_zyx(2))
    done = CliRunner().invoke(app, ["dataset", "init", str(source), "--spacing-um", "5,0.9,1.1", "--dry-run"])
    assert done.stdout.splitlines()[1:] == ["a,images/a.tif,,5,0.9,1.1,given by hand"]
    assert "2 labels match it: labels/a.tif, labels/a_gt.tif" in done.stderr
    assert "fill in label for a" in done.stderr


@pytest.mark.parametrize(
    ("answer", "cells"), [("5; 0.9", None), ("5, 0.9, 1.1", "5,0.9,1.1,given by hand"), ("", ",,,")]
)
def test_a_person_at_a_terminal_is_asked(
    source: Path, monkeypatch: pytest.MonkeyPatch, answer: str, cells: str | None
) -> None:
    """Once for all images; no answer leaves the cells empty."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("capillary.dataset.init.typer.prompt", lambda text, **how: answer)
    if cells is None:
        with pytest.raises(CapillaryError, match="needs three lengths"):
            write_draft(_request(source))
        return
    write_draft(_request(source))
    assert (source / "dataset.csv").read_text().splitlines()[1] == f"a,images/a.tif,labels/a.tif,{cells}"


@pytest.mark.parametrize(
    ("name", "spacing_um", "says"),
    [
        ("none", None, "the folder does not exist"),
        ("images/a.tif", None, "this is a file, not a folder"),
        ("images", None, "neither a dataset"),
        (".", "5,0.9", "needs three lengths"),
        (".", "500,1,1", "needs three lengths from 0.01 to 100"),
    ],
)
def test_what_cannot_be_written_is_refused(source: Path, name: str, spacing_um: str | None, says: str) -> None:
    """With a remedy."""
    with pytest.raises(CapillaryError, match=says) as refused:
        write_draft(_request(source / name, spacing_um))
    assert refused.value.remedy


def test_without_the_readers_the_command_says_what_to_install(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher may lack them."""
    monkeypatch.setattr(init, "_READERS", ("no_such_package",))
    with pytest.raises(CapillaryError, match="no_such_package"):
        write_draft(_request(source))
