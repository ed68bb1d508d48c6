"""Eight processes promote at once on a real MLflow server: the best is the champion, the history has all of them."""

import multiprocessing
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient

from stages.common.registered.promotion.champion import stand
from stages.common.registered.promotion.comparing import Comparison
from stages.common.registered.promotion.history import read_entries
from stages.common.registered.promotion.server_record import ServerRecord
from stages.common.tracking.server import connect
from tests.support.chaos import rounds
from tests.support.tracking.mlflow_server import mlflow_server
from tests.support.tracking.tracked import embedded_runtime

PEOPLE = 8
ROUNDS = rounds(1, by_hand=20)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its own server, with a new store."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


class ByNumber(ServerRecord):
    """The real history and aliases; what a version is worth is known without its files."""

    worth: Sequence[int] = ()

    def compare(self, one: str, other: str) -> Comparison:
        """Higher is better."""
        values = [float(self.worth[int(version) - 1]) for version in (one, other)]
        return Comparison(metric="dsc", volumes=9, groups=9, left_out=0, difference=values[0] - values[1])

    def measured(self, version: str) -> tuple[str, float | None]:
        """Its worth."""
        return "dsc", float(self.worth[int(version) - 1])


def promote(uri: str, name: str, version: str, worth: Sequence[int], together: object) -> None:
    """One person."""
    record = ByNumber(name, connect(embedded_runtime(Path(), tracking_uri=uri, artifact_root=None)))
    record.worth = worth
    together.wait()  # type: ignore[attr-defined]  # a barrier of multiprocessing
    stand(record, version, f"person {version}")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_best_of_eight_at_once_is_the_champion(uri: str, tmp_path: Path, number: int) -> None:
    """Whatever the order in which their requests reach the server."""
    client, name = MlflowClient(uri), f"capillary-round-{number}"
    client.create_registered_model(name)
    run = client.create_run("0").info
    for _ in range(PEOPLE):
        client.create_model_version(name, source=f"{run.artifact_uri}/training", run_id=run.run_id)
    worth = random.Random(number).sample(range(100), PEOPLE)
    context = multiprocessing.get_context("fork")  # what takes seconds to import is there already
    together = context.Barrier(PEOPLE)
    people = [
        context.Process(target=promote, args=(uri, name, str(version), worth, together))
        for version in range(1, PEOPLE + 1)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(120)
    assert [person.exitcode for person in people] == [0] * PEOPLE
    best = str(worth.index(max(worth)) + 1)
    assert str(client.get_registered_model(name).aliases["champion"]) == best
    entries = read_entries(client.search_model_versions(f"name = '{name}'"))
    assert sorted(entry.to for entry in entries) == sorted(str(version) for version in range(1, PEOPLE + 1))
    assert {entry.who for entry in entries} == {f"person {version}" for version in range(1, PEOPLE + 1)}
