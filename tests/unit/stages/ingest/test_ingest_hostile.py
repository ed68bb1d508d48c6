"""Names from tables, folders and metadata that hide something: refused or shown, never passed on as they are."""

import contextlib
import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import h5py
import pytest
import tifffile

from stages.common.dataset.ids import is_safe_id
from stages.common.errors import CapillaryError, DataError
from stages.common.imaging.labels.rule import BINARY
from stages.ingest.ingest import ingest
from stages.ingest.params import Ingest
from tests.support.attacks import FORMULAS, HIDDEN, MARKUP, shows_all
from tests.unit.stages.ingest.made import image_zyx, make_minivess, make_source, row, save_tiff

IN_TABLES = [*(text for text in HIDDEN.values() if "\udcff" not in text), *FORMULAS.values(), *MARKUP.values()]
OF_FILES = [text for text in [*HIDDEN.values(), *MARKUP.values()] if "\0" not in text and "/" not in text]
Rows = list[dict[str, object]]

MEANING: dict[str, Any] = {"label": BINARY.rule, "ignore_value": None}
CHOICES: Any = {**MEANING, "channel": None, "level_um": None}


def _as_id(number: int, text: str) -> dict[str, object]:
    return row(text, image=f"images/{number}.tif", label=f"labels/{number}.tif")


def _as_group(number: int, text: str) -> dict[str, object]:
    return row(f"g{number}", group=text)


def _as_image(number: int, text: str) -> dict[str, object]:
    return row(f"i{number}", image=f"images/{text}.tif")


def _as_label(number: int, text: str) -> dict[str, object]:
    return row(f"l{number}", image="images/v1.tif", label=f"{text}/v1.nii.gz")


def _as_spacing(number: int, text: str) -> dict[str, object]:
    return row(f"s{number}", spacing_x_um=text)


def _run(source: Path, raw: Path, capfd: pytest.CaptureFixture[str]) -> tuple[str, str, str]:
    """(what was printed, validation.json, volumes.csv) of a run that skips what is invalid."""
    ingest(
        Ingest(source=str(source), on_invalid="skip", label_geometry="world", **CHOICES),
        raw=raw,
    )
    return capfd.readouterr().out, (raw / "validation.json").read_text(), (raw / "volumes.csv").read_text()


@pytest.mark.parametrize("way_in", [_as_id, _as_group, _as_image, _as_label, _as_spacing])
def test_what_a_table_hides_is_shown_in_every_way_out(
    way_in: Callable[[int, str], dict[str, object]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the terminal, in validation.json and in volumes.csv; only the good volume is valid, under its own name."""
    source = make_source(tmp_path / "source", ("v1",))
    rows = [row("v1"), *(way_in(number, text) for number, text in enumerate(IN_TABLES))]
    _write(source / "dataset.csv", rows)
    printed, report, table = _run(source, tmp_path / "raw", capfd)
    assert shows_all(printed)
    told = [line for line in printed.splitlines() if not line.startswith("note: ")]
    assert len(told) == len(rows) + 2  # a line a volume, what is skipped, what is valid
    assert shows_all(report)
    every = json.dumps(json.loads(report), ensure_ascii=False)
    assert shows_all(every, lines=False)
    assert [each["id"] for each in csv.DictReader(io.StringIO(table))] == ["v1"]


def test_a_group_is_text_in_tables_that_people_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A spreadsheet computes none, and a number stays one; a group that hides something is refused by name."""
    source = make_source(tmp_path / "source", ("v1", "v2", "v3", "v4"))
    groups = {"v1": "mouse 3, left", "v2": "-2", "v3": "-/-", "v4": "a\u202eb"}
    _write(source / "dataset.csv", [row(name, group=group) for name, group in groups.items()])
    _, report, table = _run(source, tmp_path / "raw", capfd)
    assert {each["id"]: each["group"] for each in csv.DictReader(io.StringIO(table))} == {
        "v1": "mouse 3, left",
        "v2": "-2",
        "v3": "'-/-",
    }
    reasons = {each["id"]: each["reasons"] for each in json.loads(report)["volumes"]}
    assert "\\u202e" in reasons["v4"][0]
    assert "has an invisible character" in reasons["v4"][0]


def test_what_names_of_files_hide_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Files in MiniVess' layout become ids: those that hide something are invalid volumes with a visible name."""
    source = make_minivess(tmp_path / "source", (1,))
    for text in OF_FILES:
        (source / "raw" / f"{text}.nii.gz").write_bytes(b"x")
    printed, report, table = _run(source, tmp_path / "raw", capfd)
    assert shows_all(printed)
    assert shows_all(json.dumps(json.loads(report), ensure_ascii=False), lines=False)
    assert len(json.loads(report)["volumes"]) == len(OF_FILES) + 1
    assert [each["id"] for each in csv.DictReader(io.StringIO(table))] == ["mv01"]


@pytest.mark.parametrize("text", ["v\u202egpj", "v\u2028w", "v\u2066w", "v\ufeffw", "v\u3164w"])
def test_what_metadata_hide_is_shown(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The name of another file in a stack's OME metadata ends up in the reason why that stack is refused."""
    source = make_source(tmp_path / "source", ("v1", "v2"))
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0">'
        '<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint8" SizeX="20" SizeY="24" SizeZ="4" SizeC="1" SizeT="1">'
        f'<TiffData IFD="0" PlaneCount="4"><UUID FileName="{text}.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    save_tiff(source / "images" / "v2.tif", image_zyx(2), metadata=None, description=ome.encode())
    assert tifffile.TiffFile(source / "images" / "v2.tif").is_ome
    printed, report, _ = _run(source, tmp_path / "raw", capfd)
    assert "multi-file OME-TIFF" in report
    assert shows_all(printed)
    assert shows_all(json.dumps(json.loads(report), ensure_ascii=False), lines=False)


@pytest.mark.parametrize("text", [*IN_TABLES, *HIDDEN.values(), "\u115f", "a\u1160"])
def test_no_such_text_is_an_id(text: str) -> None:
    """An id stands in paths, tables, params and reports unchanged, so it holds nothing that had to be changed there."""
    assert not is_safe_id(text)


def test_a_header_that_hides_something_is_shown(tmp_path: Path) -> None:
    """A column that looks like `id` and is another one is told from it by the error."""
    source = make_source(tmp_path / "source", ("v1",))
    table = source / "dataset.csv"
    table.write_text(table.read_text().replace("id,", "i\u200bd\x1b[2K,", 1))
    with pytest.raises(DataError, match="lacks the column id") as refused:
        ingest(
            Ingest(source=str(source), on_invalid="fail", label_geometry="world", **CHOICES),
            raw=tmp_path / "raw",
        )
    assert "i\\u200bd\\x1b[2K" in refused.value.report()


def _write(file: Path, rows: Rows) -> None:
    columns = list(dict.fromkeys(name for each in rows for name in each))
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns, restval="")
        table.writeheader()
        table.writerows(rows)


def _ome(text: str) -> str:
    return quoteattr(text.encode("utf-8", "ignore").decode())


def _in_ome_unit(folder: Path, name: str, text: str) -> str:
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name=%s>'
        '<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint8" SizeX="20" SizeY="24" SizeZ="4" SizeC="1" SizeT="1" '
        'PhysicalSizeX="1" PhysicalSizeXUnit=%s PhysicalSizeY="1" PhysicalSizeZ="1"><Channel ID="C:0" Name=%s/>'
        '<TiffData IFD="0" PlaneCount="4"/></Pixels></Image></OME>'
    ) % ((_ome(text),) * 3)
    save_tiff(folder / f"{name}.tif", image_zyx(1), metadata=None, description=ome.encode("utf-8", "ignore"))
    return f"{name}.tif"


def _in_imagej_unit(folder: Path, name: str, text: str) -> str:
    unit = text.encode("ascii", "backslashreplace").decode() if "\0" not in text else "x"
    info = f"ImageJ=1.53\nimages=4\nslices=4\nunit={unit}\nspacing=1\n{text}=1\n".replace("\0", "")
    save_tiff(folder / f"{name}.tif", image_zyx(1), metadata=None, description=info.encode("utf-8", "ignore"))
    return f"{name}.tif"


def _in_nrrd(folder: Path, name: str, text: str) -> str:
    lines = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 20 24 4", "encoding: raw", f"space units: {text}"]
    header = "\n".join([*lines, f"{text}: 1", f"{text}:=1", "", ""]).encode("utf-8", "ignore")
    (folder / f"{name}.nrrd").write_bytes(header + image_zyx(1).tobytes())
    return f"{name}.nrrd"


def _in_mhd(folder: Path, name: str, text: str) -> str:
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 20 24 4", f"ElementType = {text}", f"{text} = 1"]
    data = "\n".join([*lines, f"ElementDataFile = {text}.raw", ""]).encode("utf-8", "ignore")
    (folder / f"{name}.mhd").write_bytes(data)
    return f"{name}.mhd"


def _in_hdf5(folder: Path, name: str, text: str) -> str:
    with h5py.File(folder / f"{name}.h5", "w") as file:
        for end in ("a", "b"):
            file[(text.encode("utf-8", "ignore").decode().replace("\0", "").replace("/", "") or "x") + end] = image_zyx(
                1
            )
    return f"{name}.h5"


def _in_zarr(folder: Path, name: str, text: str) -> str:
    place = folder / f"{name}.zarr"
    (place / "0").mkdir(parents=True)
    axes = [{"name": axis, "type": "space", "unit": text} for axis in "zyx"]
    axes[0]["name"] = text
    scales = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}]
    found = {"multiscales": [{"version": "0.4", "name": text, "axes": axes, "datasets": scales}]}
    (place / ".zattrs").write_text(json.dumps(found))
    (place / ".zgroup").write_text('{"zarr_format": 2}')
    array = {"zarr_format": 2, "shape": [4, 24, 20], "chunks": [4, 24, 20], "dtype": text, "order": "C"}
    (place / "0/.zarray").write_text(
        json.dumps({**array, "compressor": {"id": text}, "fill_value": 0, "filters": None})
    )
    return f"{name}.zarr"


@pytest.mark.parametrize("way_in", [_in_ome_unit, _in_imagej_unit, _in_nrrd, _in_mhd, _in_hdf5, _in_zarr])
def test_what_formats_hold_is_shown(
    way_in: Callable[[Path, str, str], str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names, units, types and keys of headers, in whatever is said of the stack."""
    source = make_source(tmp_path / "source", ("v1",))
    texts = [*HIDDEN.values(), *FORMULAS.values(), *MARKUP.values()]
    names = [way_in(source / "images", f"s{number}", text) for number, text in enumerate(texts)]
    rows = [row(f"s{number}", image=f"images/{name}", label="labels/v1.tif") for number, name in enumerate(names)]
    _write(source / "dataset.csv", [row("v1"), *rows])
    printed, report, table = _run(source, tmp_path / "raw", capfd)
    assert shows_all(printed)
    assert shows_all(json.dumps(json.loads(report), ensure_ascii=False), lines=False)
    assert shows_all(table)


def _packed(folder: Path, text: str) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for file in sorted((folder / "source").rglob("*.*")):
            archive.write(file, file.relative_to(folder / "source"))
        archive.writestr(text.encode("utf-8", "ignore").decode().replace("\0", "") or "x", b"x")
        archive.writestr("../" + (text.encode("utf-8", "ignore").decode().replace("\0", "") or "x"), b"x")
    return folder / "a.zip"


def _nnunet(folder: Path, text: str) -> Path:
    root = folder / "nnunet"
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    (root / "imagesTr/a_0000.nii.gz").write_bytes(b"x")
    (root / "labelsTr/a.nii.gz").write_bytes(b"x")
    found = {"labels": {"background": 0, text: 1, "x": text}, "channel_names": {"0": text}, "file_ending": text}
    (root / "dataset.json").write_text(json.dumps(found))
    return root


def _header(folder: Path, text: str) -> Path:
    file = folder / "source/dataset.csv"
    columns = [text, f"{text}2", "spacing"]
    _write(file, [{**dict.fromkeys(columns, text), "image": "images/v1.tif"}])
    return folder / "source"


@pytest.mark.parametrize("way_in", [_packed, _nnunet, _header])
@pytest.mark.parametrize("text", [*HIDDEN.values(), *FORMULAS.values(), *MARKUP.values()])
def test_a_source_that_is_refused_shows_what_it_holds(
    way_in: Callable[[Path, str], Path], text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names of members, of labels and channels, and of columns: in the error, and in whatever is printed before it."""
    if "\udcff" in text and way_in is _header:
        text = "v"
    make_source(tmp_path / "source", ("v1",))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            said = "".join(_run(way_in(tmp_path, text), tmp_path / "raw", capfd))
        except CapillaryError as error:
            said = error.report()
    assert shows_all(said + out.getvalue() + capfd.readouterr().out)
