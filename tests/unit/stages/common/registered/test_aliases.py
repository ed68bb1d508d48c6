"""Aliases and the tags that stand in for them: the newest counts, on servers with and without aliases."""

import pytest

from stages.common.errors import DataError, ExitCode, ServiceError
from stages.common.registered.aliases import aliases_of, point
from stages.common.registered.pointers import TAG, TOO_LATE_NS
from stages.common.registered.references import named_versions
from tests.support.tracking.trainings import FakeRegistry

NAME = "capillary-default"


def registry(*, takes_aliases: bool = True) -> FakeRegistry:
    """Three versions."""
    made = FakeRegistry(takes_aliases=takes_aliases)
    for _ in range(3):
        made.add(NAME)
    return made


def at(made: FakeRegistry, alias: str) -> str:
    return str(aliases_of(NAME, made.server)[alias].version)


@pytest.mark.parametrize("takes_aliases", [True, False])
def test_an_alias_moves_and_leads_to_its_version(takes_aliases: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """To a later version and back; a server without aliases gets tags, and the user is told."""
    made = registry(takes_aliases=takes_aliases)
    for version in ("2", "3", "1"):
        point(NAME, "champion", version, made.server)
        assert at(made, "champion") == version
        assert [one.version for one in named_versions(f"{NAME}@champion", made.server)] == [version]
        assert [one.version for one in named_versions(NAME, made.server)] == [version]
    assert (f"carries the tag {TAG}champion" in capsys.readouterr().out) is not takes_aliases


def test_the_newest_of_alias_and_tag_wins() -> None:
    """A server that stops taking aliases keeps a stale one; a person who moves the alias in MLflow's page counts."""
    made = registry()
    point(NAME, "champion", "1", made.server)
    made.takes_aliases = False
    point(NAME, "champion", "2", made.server)
    assert (made.aliases[NAME]["champion"], at(made, "champion")) == ("1", "2")
    made.takes_aliases = True
    point(NAME, "champion", "3", made.server)
    assert at(made, "champion") == "3"
    made.aliases[NAME]["champion"] = "1"  # by hand
    assert at(made, "champion") == "1"


def test_a_clock_that_is_behind_writes_later_all_the_same() -> None:
    """A pointer is newer than those that its writer had seen."""
    made = registry(takes_aliases=False)
    future = 4_000_000_000 * 10**9
    point(NAME, "champion", "1", made.server, after=future)
    point(NAME, "champion", "2", made.server, after=future + 1)
    assert at(made, "champion") == "2"


def test_a_pointer_that_none_could_follow_is_named() -> None:
    """Whoever may write tags could otherwise stop every promotion, which would go around in circles."""
    made = registry(takes_aliases=False)
    with pytest.raises(DataError, match=f"a tag {TAG}… of {NAME} is from the future") as refused:
        point(NAME, "champion", "1", made.server, after=TOO_LATE_NS - 1)
    assert "delete it" in refused.value.remedy
    assert aliases_of(NAME, made.server) == {}


@pytest.mark.parametrize(("alias", "expected"), [("1", "3"), ("3", "3"), (None, "3")])
def test_what_former_programs_left_stays_readable(alias: str | None, expected: str) -> None:
    """The alias of a fold, or the tag in its place: that of the later version, which was trained last."""
    made = registry()
    made.versions[NAME][1].tags["capillary.alias"] = "fold-0"
    made.versions[NAME][2].tags["capillary.alias"] = "fold-0"
    if alias:
        made.aliases[NAME] = {"fold-0": alias}
    assert at(made, "fold-0") == expected
    assert [one.version for one in named_versions(NAME, made.server)] == [expected]


@pytest.mark.parametrize(
    "value",
    [
        *("", "[]", "{}", '{"when": "x", "taken": true}', '{"when": 1}', "[" * 100_000),
        *(f'{{"when": {when}, "taken": true}}' for when in ("NaN", -1, "9" * 4000)),
    ],
)
def test_a_tag_in_another_form_does_not_count(value: str) -> None:
    """People may write anything into tags."""
    made = registry()
    made.versions[NAME][0].tags[f"{TAG}champion"] = value
    assert aliases_of(NAME, made.server) == {}


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": "unauthorized"},
        {"error_code": "UNAUTHENTICATED", "message": "who are you?"},
        {"error_code": "PERMISSION_DENIED", "message": "not yours"},
    ],
)
@pytest.mark.parametrize("reference", [NAME, f"{NAME}@champion", f"{NAME}/1"])
def test_a_refused_login_is_not_a_missing_model(refusal: dict[str, str], reference: str) -> None:
    """The error names the token, whatever was asked."""
    made = registry()
    made.refusal = refusal
    with pytest.raises(ServiceError, match="refuses this login: the token is wrong, expired,") as caught:
        named_versions(reference, made.server)
    assert caught.value.code is ExitCode.SERVICE
    assert "MLFLOW_TRACKING_PASSWORD" in caught.value.remedy


@pytest.mark.parametrize(
    ("reference", "words"), [(f"{NAME}@chmapion", "no alias chmapion"), (f"{NAME}/9", "no version 9")]
)
def test_a_mistyped_version_or_alias_is_told_from_a_mistyped_name(reference: str, words: str) -> None:
    """And the model's versions and aliases are there to choose from."""
    made = registry()
    made.set_registered_model_alias(NAME, "champion", "2")
    with pytest.raises(DataError, match=f"{NAME} has {words}") as caught:
        named_versions(reference, made.server)
    assert caught.value.remedy.startswith("it has versions 1, 2, 3 and the alias champion")
    assert caught.value.value == reference


@pytest.mark.parametrize("reference", ["capillary-none", "capillary-none/1", "capillary-none@champion"])
def test_what_is_not_there_is_named(reference: str) -> None:
    """With the command that lists what is there."""
    made = registry()
    with pytest.raises(DataError, match=r"has no model") as caught:
        named_versions(reference, made.server)
    assert caught.value.code is ExitCode.DATA
    assert "capillary models" in caught.value.remedy


def test_a_server_without_a_registry_is_named() -> None:
    """It lets the login in and knows no models: that is not a missing model either."""
    made = registry()
    made.get_registered_model = made.search_model_versions = _unsupported  # type: ignore[method-assign, assignment]
    with pytest.raises(ServiceError, match="no model registry"):
        named_versions(NAME, made.server)


def _unsupported(*_words: object, **_options: object) -> None:
    from mlflow.exceptions import RestException

    raise RestException({"error": "unsupported endpoint"})
