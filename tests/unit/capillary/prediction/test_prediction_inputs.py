"""What the words of `capillary predict` mean, and under which names the masks are written."""

import os
from pathlib import Path
from typing import Any

import pytest

from capillary.prediction.ask import make_request
from capillary.prediction.checks import check_request
from capillary.prediction.mounts import MANY, mounted
from capillary.prediction.plan import choices_of
from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.requests.prediction.request import PredictRequest

DEFAULTS = {"suffix": None, "blocks": None, "spacing_um": None, "probability": False, "picture": False}
NAMES = ("a.tif", "b.ome.tif", "c.nii.gz", "notes.txt", ".d.tif", "deep/e.tif", "deep/a.nii")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """scans/ with three stacks, other files, and a folder below; the current folder is its parent."""
    for name in NAMES:
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(b"stack")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(*words: str, **options: Any) -> PredictRequest:
    return make_request(words, Path.cwd(), **{**DEFAULTS, **options})


def images(request: PredictRequest) -> list[str]:
    return [str(stack.image) for stack in request.stacks]


def test_a_stack_and_a_file_are_one_prediction(folder: Path) -> None:
    """Also a stack that is not there, or is called like a pattern: what is wrong is said by the checks."""
    assert ask("scans/a.tif", "seg.nii.gz").folder is None
    assert ask("no.tif", "seg.tif").folder is None
    assert ask("scans/a.tif", "seg").folder is None
    (folder / "x[1].tif").touch()
    assert images(ask("x[1].tif", "seg.tif")) == ["x[1].tif"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["scans/a.tif", "scans/c.nii.gz", "out"], ["scans/a.tif", "scans/c.nii.gz"]),
        (["scans", "out"], ["scans/a.tif", "scans/b.ome.tif", "scans/c.nii.gz"]),
        (["scans/*", "out"], ["scans/a.tif", "scans/b.ome.tif", "scans/c.nii.gz"]),
        (["scans/**/*.tif", "out"], ["scans/a.tif", "scans/b.ome.tif", "scans/deep/e.tif"]),
        (["scans/a.tif", "scans/a*", "out"], ["scans/a.tif"]),
        (["scans/a.tif", "out/"], ["scans/a.tif"]),
        (["scans/a.tif", "scans/deep"], ["scans/a.tif"]),
    ],
)
def test_files_patterns_and_folders_mean_stacks_for_a_folder(folder: Path, words: list[str], found: list[str]) -> None:
    """Sorted, each once, without hidden files and those that are not stacks by their names."""
    request = ask(*words)
    assert images(request) == found
    assert request.folder == Path(words[-1])


def test_what_a_former_run_wrote_is_not_taken_for_a_stack(folder: Path) -> None:
    """A pattern may reach into the output folder."""
    assert images(ask("scans/**/*.nii*", "scans/deep")) == ["scans/c.nii.gz"]


def test_masks_are_called_like_their_stacks(folder: Path) -> None:
    """With the suffix of the stack's kind, or the one that is asked for."""
    masks = [str(stack.mask) for stack in ask("scans", "out").stacks]
    assert masks == ["out/a.tif", "out/b.ome.tif", "out/c.nii.gz"]
    first = ask("scans", "out", suffix=".nii", probability=True, picture=True).stacks[1]
    assert [str(file) for file in first.files] == ["out/b.nii", "out/b_probability.nii", "out/b.png"]
    (upper,) = ask("F.OME.TIF", "out/", probability=True).stacks  # the name is kept letter by letter
    assert [str(file) for file in upper.files] == ["out/F.OME.TIF", "out/F_probability.OME.TIF"]


@pytest.mark.parametrize("word", ["m1", "m1/", "m1/z*.tif", "m1/z{z}.tif"])
def test_slices_and_a_file_are_one_prediction(folder: Path, word: str) -> None:
    """A folder or a pattern is one stack where one mask is asked for, whatever form that has."""
    (folder / "m1").mkdir()
    for number in range(3):
        (folder / "m1" / f"z{number}.tif").touch()
    for target in ("seg.tif", "seg.ome.zarr"):
        request = ask(word, target)
        assert (images(request), request.folder) == ([word.rstrip("/")], None)
        check_request(request)
    assert len(ask("m1", "out").stacks) == 3


@pytest.mark.parametrize("name", ["a.nrrd", "a.lsm", "a.h5", "a.h5:/raw"])
def test_a_mask_in_a_format_that_is_not_written_needs_a_suffix(folder: Path, name: str) -> None:
    """The remedy is the option, not another name of the stack."""
    with pytest.raises(CapillaryError, match=r"masks cannot be written as \.") as raised:
        ask(name, "out/")
    assert "--suffix" in raised.value.remedy
    (stack,) = ask(name, "out/", suffix=".nii.gz").stacks
    assert str(stack.mask) == "out/a.nii.gz"


@pytest.mark.parametrize(
    ("words", "options", "text"),
    [
        (["scans/a.tif"], {}, "needs a stack"),
        (["scans/a.tif", "scans/c.nii.gz", "seg.tif"], {}, "need a folder"),
        (["scans", "scans/notes.txt"], {}, "need a folder"),
        (["scans/a.tif", "seg.tif"], {"resume": True}, "--resume only apply to several"),
        (["scans/a.tif", "seg.tif"], {"suffix": ".tif"}, "only apply to several"),
        (["scans", "out"], {"suffix": ".png"}, "--suffix"),
        (["scans", "out"], {"suffix": "tif"}, "--suffix"),
        (["scans", "out"], {"suffix": ".nrrd"}, "--suffix"),
        (
            ["scans/a.tif", "scans/deep/a.nii", "out"],
            {"suffix": ".nii"},
            "two stacks would write the same output a.nii",
        ),
        (["scans/a.tif", "scans/deep/a.nii", "out"], {"picture": True}, "the same output a.png"),
        (["scans/notes.txt", "scans/a.tif", "out"], {}, "not that of a stack"),
    ],
)
def test_words_that_do_not_suit_each_other_are_refused(
    folder: Path, words: list[str], options: dict[str, Any], text: str
) -> None:
    """Exit code 2; two stacks with the same output are both named."""
    with pytest.raises(CapillaryError, match=text) as raised:
        ask(*words, **options)
    assert raised.value.code is ExitCode.USAGE
    if "the same" in text:
        assert raised.value.value == "scans/a.tif, scans/deep/a.nii"


@pytest.mark.parametrize("word", ["empty", "*.nrrd", "none.csv"])
def test_a_word_without_a_stack_is_refused(folder: Path, word: str) -> None:
    """Exit code 4. A folder with a table says that it can be named."""
    (folder / "empty").mkdir()
    (folder / "empty" / "dataset.csv").touch()
    with pytest.raises(DataError) as raised:
        ask(word, "out")
    assert word != "empty" or "empty/dataset.csv" in raised.value.remedy


def test_a_stack_in_its_own_folder_is_not_replaced(folder: Path) -> None:
    """Nor is one that does not exist taken."""
    with pytest.raises(CapillaryError, match="would replace the stack"):
        check_request(ask("scans", "scans"))
    with pytest.raises(CapillaryError, match="would replace the stack"):
        check_request(ask("scans/*.tif", "scans"))
    with pytest.raises(DataError, match="does not exist"):
        check_request(ask("scans/a.tif", "no.tif", "out"))


@pytest.mark.parametrize(
    "words",
    [[b"caf\xe9.tif", b"seg.tif"], [b"scans/a.tif", b"caf\xe9.tif"], [b"caf\xe9/a.tif", b"scans/c.nii.gz", b"out"]],
)
def test_a_name_that_is_no_text_is_refused_before_anything_is_computed(folder: Path, words: list[bytes]) -> None:
    """Disks that Windows or old cameras wrote to have such; the folder above counts where it is recorded."""
    (folder / os.fsdecode(b"caf\xe9")).mkdir()
    for name in (b"caf\xe9.tif", b"caf\xe9/a.tif"):
        (folder / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match="not UTF-8") as raised:
        check_request(ask(*map(os.fsdecode, words), force=True))
    assert "convmv" in raised.value.remedy
    check_request(ask(os.fsdecode(b"caf\xe9/a.tif"), "seg.tif"))


def write_table(folder: Path, text: str) -> None:
    (folder / "scans" / "dataset.csv").write_text(text, encoding="utf-8-sig")


def test_a_table_names_stacks_and_their_spacing(folder: Path) -> None:
    """Relative to the table; labels and ids are not needed; the option takes precedence."""
    write_table(folder, "image,spacing_z_um,spacing_y_um,spacing_x_um\na.tif,5,0.5,0.25\ndeep/e.tif,,,\n")
    request = ask("scans/dataset.csv", "out")
    assert images(request) == ["scans/a.tif", "scans/deep/e.tif"]
    assert [stack.spacing_um for stack in request.stacks] == [(5.0, 0.5, 0.25), None]
    write_table(folder, "image,spacing_z_um,spacing_y_um,spacing_x_um\na.tif,5,,\ndeep/e.tif,,0.5,\n")
    request = ask("scans/dataset.csv", "out")
    assert [stack.spacing_um for stack in request.stacks] == [(5.0, None, None), (None, 0.5, None)]
    told = ask("scans/dataset.csv", "out", spacing_um="1,2,3")
    assert {stack.spacing_um for stack in told.stacks} == {(1.0, 2.0, 3.0)}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Image;Spacing_Z_µm;Spacing_Y_µm;Spacing_X_µm\na.tif;5,0;0,5;0,25\n;;;\ndeep\\e.tif;;;\n", "utf-8"),
        ("image\tspacing_z_um\tspacing_y_um\tspacing_x_um\na.tif\t5\t0.5\t0.25 µm\ndeep/e.tif\t\t\t\n", "utf-16"),
        ("# of May\n#no,image,z_um,y_um,x_um\n1,a.tif,5,.5,.25\n2,deep/e.tif,,,\n#3,,,,\n", "utf-8"),
    ],
)
def test_a_table_is_read_as_people_write_it(folder: Path, text: str, encoding: str) -> None:
    """By the reader of *ingest*, whose tests have the other forms."""
    (folder / "scans" / "dataset.csv").write_text(text, encoding=encoding)
    request = ask("scans/dataset.csv", "out")
    assert images(request) == ["scans/a.tif", "scans/deep/e.tif"]
    assert [stack.spacing_um for stack in request.stacks] == [(5.0, 0.5, 0.25), None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,label\nx,y\n", "lacks the column image"),
        ("image\n", "no rows"),
        ("image\n../secret.tif\n", "outside its folder"),
        ("image\n/etc/secret.tif\n", "outside its folder"),
        ("image\nlink.tif\n", "outside its folder"),
        ("image\n.\n", "outside its folder"),
        (
            "image,spacing_z_um,spacing_y_um,spacing_x_um\na.tif,5,x,1\n",
            "spacing_y_um of a.tif is not a length",
        ),
        (
            "image,spacing_z_um,spacing_y_um,spacing_x_um\na.tif,5,0,1\n",
            "spacing_y_um of a.tif is not a length",
        ),
        ('image\n"a.tif\n', "not CSV"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(folder: Path, text: str, reason: str) -> None:
    """It may come from anywhere: it names nothing outside its folder, also by no link."""
    (folder / "scans" / "link.tif").symlink_to(folder / "elsewhere.tif")
    write_table(folder, text)
    with pytest.raises(DataError, match=reason):
        ask("scans/dataset.csv", "out")


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("gehör.tif", "geho\u0308r.tif"),
        ("Deep/E.TIF", "deep/e.tif"),
        ("C:\\data\\scans\\deep\\e.tif", "deep/e.tif"),
        ("/mnt/scans/a.tif", "a.tif"),
        ("a.h5:/raw/stack", "a.h5:/raw/stack"),
    ],
)
def test_a_table_names_a_file_as_ingest_finds_it(folder: Path, cell: str, found: str) -> None:
    """In another form of Unicode or case, or by its path on the machine where the table was written."""
    (folder / "scans" / "geho\u0308r.tif").touch()
    write_table(folder, f"image\n{cell}\n")
    assert images(ask("scans/dataset.csv", "out", suffix=".tif")) == [f"scans/{found}"]


def test_a_table_names_slices(folder: Path) -> None:
    """Their mask has the name of their folder."""
    for name in ("m1", "m2"):
        (folder / "scans" / name).mkdir()
        (folder / "scans" / name / "z0.tif").touch()
    write_table(folder, "image\nm1\nm2/z*.tif\n")
    request = ask("scans/dataset.csv", "out")
    check_request(request)
    assert images(request) == ["scans/m1", "scans/m2/z*.tif"]
    assert [str(stack.mask) for stack in request.stacks] == ["out/m1.tif", "out/m2.tif"]


def test_a_table_may_lead_into_dvcs_cache(folder: Path) -> None:
    """Where DVC tracks stacks by links."""
    (folder / ".dvc" / "cache").mkdir(parents=True)
    (folder / ".dvc" / "cache" / "0a").touch()
    (folder / "scans" / "link.tif").symlink_to(folder / ".dvc" / "cache" / "0a")
    write_table(folder, "image\nlink.tif\n")
    assert images(ask("scans/dataset.csv", "out")) == ["scans/link.tif"]


def test_a_few_stacks_are_mounted_one_by_one(folder: Path) -> None:
    """Links are followed; the stage knows a stack by the name that the user gave."""
    (folder / "link.tif").symlink_to(folder / "scans" / "a.tif")
    deps, places = mounted([folder / "link.tif", folder / "scans" / "a.tif"])
    assert [(dep.name, dep.host) for dep in deps] == [
        ("input/00000/link.tif", folder / "scans" / "a.tif"),
        ("input/00001/a.tif", folder / "scans" / "a.tif"),
    ]
    assert places == (Path("input/00000/link.tif"), Path("input/00001/a.tif"))


def test_many_stacks_of_a_folder_are_mounted_as_that_folder(tmp_path: Path) -> None:
    """One mount for all of them, and one for a link among them, which would lead nowhere in there."""
    for number in range(MANY + 1):
        (tmp_path / f"{number}.tif").touch()
    link = tmp_path / "link.tif"
    link.symlink_to(tmp_path / "0.tif")
    deps, places = mounted([*(tmp_path / f"{number}.tif" for number in range(MANY + 1)), link])
    assert [dep.host for dep in deps] == [tmp_path, tmp_path / "0.tif"]
    assert places[1] == Path("input/0/1.tif")
    assert places[-1].name == "link.tif"


def test_channel_and_level_are_those_of_the_training(tmp_path: Path) -> None:
    """As params.yaml names them; one of an earlier version names no level."""
    (tmp_path / "params.yaml").write_text("ingest:\n  channel: CD31\n  level_um: [5, 2.0, 2.0]\n")
    assert choices_of(tmp_path) == {"channel": "CD31", "level_um": (5, 2.0, 2.0)}
    (tmp_path / "params.yaml").write_text("ingest:\n  channel: 1\n")
    assert choices_of(tmp_path) == {"channel": 1, "level_um": None}


@pytest.mark.parametrize("words", [["", "out"], ["scans/a.tif", ""], ["scans", "", "out"]])
@pytest.mark.usefixtures("folder")
def test_an_empty_word_is_not_the_current_folder(words: list[str]) -> None:
    """A variable that is not set would have all stacks here segmented, or masks written among them."""
    with pytest.raises(CapillaryError, match="one of the words is empty") as caught:
        ask(*words)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.usefixtures("folder")
def test_a_folder_that_is_missing_is_not_a_stack_with_a_wrong_name() -> None:
    """Its name need not end in .tif."""
    with pytest.raises(DataError, match="does not exist") as caught:
        ask("scns", "out/")
    assert caught.value.file == Path("scns")


def test_a_link_to_itself_matches_no_pattern_s_stack(folder: Path) -> None:
    """The others are still found, and it is named by the checks."""
    (folder / "scans/loop.tif").symlink_to("loop.tif")
    assert images(ask("scans/*.tif", "out")) == ["scans/a.tif", "scans/b.ome.tif", "scans/loop.tif"]
