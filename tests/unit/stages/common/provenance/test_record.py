"""provenance.json: read back as it was written, and refused when it is not one."""

import json

import pytest

from stages.common.errors import DataError
from stages.common.provenance import machine
from stages.common.provenance.record import read_record, record_bytes, short_tags
from tests.support.tracking.provenance import HOST, provenance_record


@pytest.mark.parametrize("host", [HOST, None])
def test_a_record_is_read_back(host: object) -> None:
    """With and without a host's half."""
    record = provenance_record(host=None) if host else provenance_record().model_copy(update={"host": None})
    assert read_record(record_bytes(record), "x") == record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version"),
        ({"more": 1}, "more"),
        ({"stage": "x" * 5000}, "stage"),
        ({"machine": {}}, "machine"),
        ({"host": {"commit": 3}}, "host"),
    ],
)
def test_a_record_of_another_form_is_refused(change: dict[str, object], said: str) -> None:
    """It may come from a registry that others write to."""
    tree = json.loads(record_bytes(provenance_record()))
    with pytest.raises(DataError, match="capillary-x/1") as caught:
        read_record(json.dumps({**tree, **change}).encode(), "capillary-x/1")
    assert said in str(caught.value.value)


def test_short_tags_say_what_people_filter_by() -> None:
    """Nothing by hand; no commit without Git."""
    tags = short_tags(HOST)
    assert tags == {
        "capillary.commit": "c" * 40,
        "capillary.dirty": "false",
        "capillary.environment": "3.11.7, x86_64",
    }
    assert short_tags(None) == {}


def test_the_packages_are_those_installed_here() -> None:
    """By their names on an index."""
    assert machine.packages()["pydantic"].startswith("2.")
