"""What docs/stacks.md and docs/datasets.md list as read: each line has a test that reads it, no suffix is missing."""

import re

import pytest

from stages.common.imaging.suffixes import SUFFIXES
from tests.support.parts import REPOSITORY

IMAGING = "tests/unit/stages/common/imaging"
WRITERS = f"{IMAGING}/test_other_writers.py"
FORMS = "tests/unit/stages/ingest/test_ingest_forms.py::test_every_form_lands_as_a_plain_file"
LAYOUTS = "tests/unit/stages/ingest/test_ingest_layout.py::test_pairs_are_found_in_every_layout"
# the first words of a line → tests that read what it is about, with the form among their parameters
TESTS = {
    "TIFF, OME-TIFF": (f"{WRITERS}::test_ome_tiff_by_tifffile", f"{WRITERS}::test_imagej_tiff_by_tifffile"),
    "Zeiss LSM": (f"{IMAGING}/formats/tiff/test_lsm.py::test_the_stack_is_read_and_not_its_thumbnails",),
    "NIfTI": (f"{WRITERS}::test_nifti_by_nibabel", f"{WRITERS}::test_what_simpleitk_writes"),
    "OME-Zarr": (
        f"{WRITERS}::test_ome_zarr_by_ome_zarr",
        f"{IMAGING}/foreign/test_axes_that_say_little.py::test_made_up_names_of_zarr_say_nothing",
    ),
    "HDF5": (FORMS,),
    "NRRD": (f"{WRITERS}::test_what_simpleitk_writes", FORMS),
    "MetaImage": (f"{WRITERS}::test_what_simpleitk_writes", FORMS),
    "a folder of slices": (FORMS,),
    "slices by a pattern": (FORMS,),
    "`.czi`, `.lif`": (f"{IMAGING}/foreign/test_microscope_files.py::test_voxels_and_their_size_are_read",),
    "`.nd2`": (f"{IMAGING}/foreign/test_refusals.py::test_a_microscope_s_file_is_read_through_its_reader",),
    "plain": (LAYOUTS,),
    "MiniVess": (LAYOUTS, "tests/unit/stages/ingest/test_ingest_layout.py::test_minivess_pairs_are_found_by_name"),
    "BiaPy": (LAYOUTS,),
    "nnU-Net": (LAYOUTS,),
}


PAGES = (("stacks.md", "Formats"), ("datasets.md", "Layouts without a table"))


def _lines(page: str, heading: str) -> list[str]:
    """The lines of the table below `heading`, without its header."""
    section = (REPOSITORY / "docs" / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    return [line.strip("| ") for line in table[0].splitlines()[2:]]


@pytest.mark.parametrize(("page", "heading"), PAGES)
def test_each_line_has_its_test(page: str, heading: str) -> None:
    """By name, in a file that has it."""
    for line in _lines(page, heading):
        found = [tests for start, tests in TESTS.items() if line.startswith(start)]
        assert len(found) == 1, line
        for file, _, name in (test.partition("::") for test in found[0]):
            assert f"\ndef {name}(" in (REPOSITORY / file).read_text(encoding="utf-8"), (line, name)


def test_each_test_has_its_line() -> None:
    """No line is left in the list above when it goes from the page."""
    lines = [line for page, heading in PAGES for line in _lines(page, heading)]
    assert [start for start in TESTS if not any(line.startswith(start) for line in lines)] == []


def test_no_suffix_that_is_read_is_missing() -> None:
    """The first column of names, or the line itself."""
    text = " ".join(_lines("stacks.md", "Formats"))
    assert [suffix for suffix in SUFFIXES if not re.search(rf"{re.escape(suffix)}[`:]", text)] == []
