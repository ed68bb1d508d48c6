"""Weight checksums and the way into and out of the embedded registry."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.exceptions import MlflowException, RestException

from stages.common.errors import DataError
from stages.common.networks.weights import weights_sha256
from stages.common.tracking.model_files import pinned_requirements
from stages.common.tracking.registry import WEIGHTS_TAG, register_model, set_alias
from stages.common.tracking.server import RefusedError, Server
from tests.support.models.networks import card_of, package_of, random_network
from tests.support.tracking.cards import CARD
from tests.support.tracking.tracked import PlainRun, embedded_runtime, load, plain_run
from tests.unit.stages.common.tracking.opened import Failing


@pytest.fixture
def run(store: Path, request: pytest.FixtureRequest) -> PlainRun:
    """Its own run for each test."""
    runtime = embedded_runtime(store, fingerprint=request.node.name)
    return plain_run(runtime)


def register(run: PlainRun, model: torch.nn.Module, loss: str, fold: int = 0, server: Any = None) -> tuple[str, str]:
    return register_model(
        package_of(model), server=server or run.server, run_id=run.run_id, loss=loss, fold=fold, fingerprint="f"
    )


def test_the_checksum_sees_names_dtypes_shapes_and_every_bit() -> None:
    """Equal state gives equal sums; a renamed, cast, reshaped or flipped tensor gives another."""
    base = torch.nn.ParameterDict({"a": torch.zeros(2, 3), "b": torch.ones(())})
    others = [
        torch.nn.ParameterDict({"c": torch.zeros(2, 3), "b": torch.ones(())}),
        torch.nn.ParameterDict({"a": torch.zeros(2, 3).bfloat16(), "b": torch.ones(())}),
        torch.nn.ParameterDict({"a": torch.zeros(3, 2), "b": torch.ones(())}),
        torch.nn.ParameterDict({"a": -torch.zeros(2, 3), "b": torch.ones(())}),
    ]
    same = torch.nn.ParameterDict({"b": torch.ones(()), "a": torch.zeros(3, 2).t()})
    assert weights_sha256(base) == weights_sha256(same)
    assert len({weights_sha256(model) for model in [base, *others]}) == 5


def test_a_model_comes_back_bit_for_bit_in_eval_mode(run: PlainRun) -> None:
    """A registered network loads by name and version and predicts what it predicted."""
    model = random_network()
    assert register(run, model, "round_trip")[0] == "capillary-round_trip"
    loaded = load(card_of(model, loss="round_trip"), run.server)
    assert not loaded.training
    image = torch.rand(1, 1, 4, 6, 6)
    torch.testing.assert_close(loaded(image), model.eval()(image), rtol=0, atol=0)


def test_the_version_belongs_to_its_run_and_carries_what_it_is_found_by(run: PlainRun) -> None:
    """Weights, fingerprint, fold and the caller's own tags, and no alias; requirements are pinned."""
    model, tags = random_network(), {"of the": "caller"}
    name, version = register_model(
        package_of(model),
        server=run.server,
        run_id=run.run_id,
        loss="alias",
        fold=2,
        fingerprint="print",
        extra_tags=tags,
    )
    found = run.server.client.get_model_version(name, version)
    assert (str(found.version), found.run_id) == (version, run.run_id)
    assert found.tags["capillary.weights_sha256"] == weights_sha256(model)
    assert (found.tags["capillary.fold"], found.tags["of the"]) == ("2", "caller")
    assert found.tags["capillary.fingerprint"] == "print"
    assert run.server.client.get_registered_model(name).aliases == {}
    needed = {"torch", "monai", "numpy", "mlflow", "safetensors", "pydantic"}
    assert needed <= {line.split("==")[0] for line in pinned_requirements()}
    assert any(line.startswith("torch==") and "+" not in line for line in pinned_requirements())


def test_registering_again_makes_no_second_version(run: PlainRun, store: Path) -> None:
    """One fingerprint and one set of weights are one version, also from another run."""
    model = random_network()
    other = plain_run(embedded_runtime(store))
    assert register(run, model, "again") == register(run, model, "again") == register(other, model, "again")
    assert len(run.server.client.search_model_versions("name = 'capillary-again'")) == 1


def test_other_weights_of_the_same_run_leave_the_first_version_intact(run: PlainRun) -> None:
    """A second set of weights gets files and its own version."""
    first, second = random_network(0), random_network(1)
    assert register(run, first, "two_weights") != register(run, second, "two_weights")
    for model in (first, second):
        card = card_of(model, loss="two_weights")
        assert weights_sha256(load(card, run.server)) == weights_sha256(model)


class Killed(BaseException):
    """Stands for kill -9."""


class DiesAt:
    """A client that ends the process before (or right after) one of its calls."""

    def __init__(self, client: Any, method: str, *, after: bool) -> None:
        self.client, self.method, self.after = client, method, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if name != self.method:
            return real

        def die(*args: Any, **kwargs: Any) -> None:
            if self.after:
                real(*args, **kwargs)
            raise Killed

        return die


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["create_registered_model", "log_artifacts", "create_model_version"])
def test_a_registration_killed_at_any_step_is_completed_by_the_next(run: PlainRun, method: str, after: bool) -> None:
    """Whatever step was the last, repeating gives exactly one whole version."""
    model, loss = random_network(), f"killed_{method}_{after}"
    dying = Server(client=DiesAt(run.server.client, method, after=after), uri=run.server.uri)
    with pytest.raises(Killed):
        register(run, model, loss, server=dying)
    name, _ = register(run, model, loss)
    assert len(run.server.client.search_model_versions(f"name = '{name}'")) == 1
    load(card_of(model, loss=loss), run.server)


class LosesAnswer(DiesAt):
    """A client whose call succeeds but whose answer is lost once."""

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if name != self.method:
            return real

        def lose(*args: Any, **kwargs: Any) -> None:
            real(*args, **kwargs)
            raise MlflowException("API request failed with exception: connection aborted")

        return lose


def test_a_lost_answer_makes_no_second_version(run: PlainRun) -> None:
    """A version whose creation was not confirmed is found, not created again."""
    lossy = Server(client=LosesAnswer(run.server.client, "create_model_version", after=True), uri=run.server.uri)
    name, _ = register(run, random_network(), "lost_answer", server=lossy)
    assert len(run.server.client.search_model_versions(f"name = '{name}'")) == 1


def test_a_refused_alias_becomes_a_tag_and_is_said(run: PlainRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Without aliases the version carries capillary.alias, and the user reads so."""
    no_aliases = Failing(run.server.client, set_registered_model_alias=RestException({"error": "unsupported endpoint"}))
    server = Server(client=no_aliases, uri=run.server.uri)
    name, version = register(run, random_network(), "no_alias", fold=1)
    set_alias(server, name, "fold-1", version)
    assert run.server.client.get_model_version(name, version).tags["capillary.alias"] == "fold-1"
    assert "capillary.alias = fold-1" in capsys.readouterr().out


def test_a_refusal_to_create_the_model_is_one(run: PlainRun) -> None:
    """Only a name that exists already is not a reason to stop; nothing is uploaded."""
    refusing = Failing(
        run.server.client,
        create_registered_model=RestException({"error_code": "PERMISSION_DENIED", "message": "read only"}),
        log_artifacts=AssertionError("uploaded"),
    )
    with pytest.raises(RefusedError) as caught:
        register(run, random_network(), "refused", server=Server(client=refusing, uri=run.server.uri))
    assert caught.value.error_code == "PERMISSION_DENIED"


def test_other_weights_than_the_card_says_are_refused(run: PlainRun) -> None:
    """A version whose files are the card's, with weights of another sum than the card's, is never evaluated."""
    model = random_network()
    name, version = register(run, model, "tampered")
    card = card_of(model, loss="tampered", weights_sha256=CARD.weights_sha256)
    run.server.client.set_model_version_tag(name, version, WEIGHTS_TAG, CARD.weights_sha256)
    with pytest.raises(DataError, match="other weights") as caught:
        load(card, run.server)
    assert caught.value.value == f"{weights_sha256(model)} instead of {card.weights_sha256}"
