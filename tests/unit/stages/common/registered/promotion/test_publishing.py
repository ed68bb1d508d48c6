"""Trainings in a real embedded registry: registered once, linked to their runs, compared, and led to by aliases."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import CapillaryError, DataError
from stages.common.registered import tags
from stages.common.registered.promotion.publishing import PublishedTraining, publish_training
from stages.common.registered.references import find_versions, named_version
from stages.common.registered.trainings import reading
from stages.common.registered.trainings.training import FILE, Rival, Training, training_json
from stages.common.tracking.registry import FOLD_TAG, SETUP_TAG, WEIGHTS_TAG
from stages.common.tracking.server import Server, connect
from stages.models.comparing import compare_trainings
from stages.models.promoting import promote, rollback
from stages.models.showing import list_models, show
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.tracked import embedded_runtime, plain_run
from tests.support.tracking.trainings import made_training

NETWORKS = "capillary-dice_ce"
VALUES = {f"v{index}": 0.5 + 0.03 * index for index in range(6)}


def shifted(by: float) -> dict[str, float]:
    return {name: value + by for name, value in VALUES.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start_store(tmp_path_factory.mktemp("published") / "mlruns")


@pytest.fixture(scope="module")
def server(store: Path) -> Server:
    return connect(embedded_runtime(store))


def run_of(store: Path, name: str, **params: str) -> str:
    made = plain_run(embedded_runtime(store, fingerprint=name))
    for key, value in params.items():
        made.server.client.log_param(made.run_id, key, value)
    return made.run_id


def publish(store: Path, server: Server, training: Training, folder: Path) -> PublishedTraining:
    """Register made-up networks of `training` that are not there yet, then the training."""
    client = server.client
    if not client.search_registered_models(f"name = '{NETWORKS}'"):
        client.create_registered_model(NETWORKS)
    there = {one.tags[WEIGHTS_TAG] for one in client.search_model_versions(f"name = '{NETWORKS}'")}
    for cell in training.cells:
        if cell.weights_sha256 not in there:
            known = {WEIGHTS_TAG: cell.weights_sha256, SETUP_TAG: cell.fingerprint[:-2], FOLD_TAG: str(cell.fold)}
            known[tags.COMMIT] = "c0ffee"
            run_id = run_of(store, cell.fingerprint, **{"training.max_epochs": cell.fingerprint[:-2]})
            client.create_model_version(NETWORKS, source=str(folder), run_id=run_id, tags=known)
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(training_json(training))
    mean = {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    (folder / "metrics.json").write_text(json.dumps({training.loss: {"test": {"ensemble": {"dsc": mean}}}}))
    secret = folder.parent / "secret"
    secret.write_text("of the user's")
    for name in ("more.txt", "summary.csv"):  # a stage that was taken over left them
        (folder / name).unlink(missing_ok=True)
    (folder / "more.txt").symlink_to(secret)
    run_id = run_of(store, f"evaluation of {training.digest}")
    client.set_tag(run_id, tags.COMMIT, "decaf")
    return publish_training(server, run_id, folder)


def aliases(server: Server, name: str) -> dict[str, str]:
    return {alias: str(number) for alias, number in server.client.get_registered_model(name).aliases.items()}


def test_trainings_become_versions_and_the_best_the_champion(store: Path, server: Server, tmp_path: Path) -> None:
    """The life of one model: the first, the same again, a worse one, a rehearsal, a better one; then people."""
    name = "capillary-life"

    def made(label: str, by: float, **changes: Any) -> PublishedTraining:
        training = made_training(shifted(by), name=label, registered_model=name, **changes)
        return publish(store, server, training, tmp_path / label)

    first = made("first", 0.0)
    assert (first.version, aliases(server, name)) == ("1", {"candidate": "1", "champion": "1"})
    assert made("first", 0.0).version == "1", "equal trainings are one version"
    assert made("worse", -0.1).version == "2"
    assert aliases(server, name) == {"candidate": "2", "champion": "1"}
    assert made("rehearsal", 0.3, rehearsal=True, stands=False).version == "3"
    assert made("loser", 0.2, stands=False).version == "4"
    assert aliases(server, name) == {"candidate": "2", "champion": "1"}
    better = made("better", 0.1)
    assert aliases(server, name) == {"candidate": "5", "champion": "5", "previous": "1"}
    assert better.entry is not None
    assert (better.entry.former, better.entry.better, better.entry.who) == ("1", True, "evaluate")
    assert "difference +0.1000 [+0.1000, +0.1000] (95%, paired), on 6 volumes of 6 groups" in better.entry.why

    with pytest.raises(CapillaryError, match="is a rehearsal"):
        promote(f"{name}/3", server, who="ann", reason="looks good")
    with pytest.raises(CapillaryError, match="a reason is needed"):
        promote(f"{name}/4", server, who="ann", reason=" ")
    answer = promote(f"{name}/4", server, who="ann", reason="thin vessels")
    assert (answer["aliases"]["champion"], answer["entry"]["from"], answer["entry"]["who"]) == ("4", "5", "ann")
    assert rollback(name, server, who="bob", reason="plaques")["aliases"]["champion"] == "5"
    history = show(name, server)["history"]
    assert [(one["kind"], one["to"]) for one in history] == [
        *(("rolled back", "5"), ("promoted", "4")),
        *(("evaluated", "5"), ("evaluated", "2"), ("evaluated", "1")),
    ]
    (listed,) = list_models([name, "capillary-nobody"], server)["models"][:1]
    assert listed["aliases"] == {"candidate": "5", "champion": "5", "previous": "4"}
    assert [one["rehearsal"] for one in listed["trainings"]] == [False, False, True, False, False]


def test_a_training_is_found_with_all_of_its_networks_and_its_numbers(
    store: Path, server: Server, tmp_path: Path
) -> None:
    """By alias and version; its page says what it is; the runs name each other and hold the means of their fold."""
    rival = Rival(loss="cldice", mean=0.4, difference=0.175, ci_low=0.1, ci_high=0.2)
    training = made_training(VALUES, name="whole", registered_model="capillary-whole", rivals=(rival,))
    published = publish(store, server, training, tmp_path / "folder")
    networks = find_versions("capillary-whole@champion", server)
    assert [one.tags[WEIGHTS_TAG] for one in networks] == [cell.weights_sha256 for cell in training.cells]
    assert [one.version for one in find_versions("capillary-whole/1", server)] == [one.version for one in networks]
    version = named_version("capillary-whole@champion", server)
    assert version.tags[tags.KIND] == "training"
    assert version.tags[tags.TRAINING] == training.id
    assert version.tags["capillary.dsc"] == "0.575"
    assert [version.tags[tag] for tag in (tags.VOLUMES, tags.HELD_OUT)] == ["6", "0.500 [0.400, 0.600]"]
    assert (version.tags[tags.COMMIT], version.tags[tags.EVALUATION_COMMIT]) == ("c0ffee", "decaf")
    place = f"training/{training.loss}"
    files = {file.path for file in server.client.list_artifacts(version.tags[tags.EVALUATION_RUN], place)}
    assert files == {f"{place}/{FILE}", f"{place}/metrics.json"}, "no link is followed, no other file sent"
    for words in (
        "| DSC ↑ | 0.575 |",
        "- cldice: 0.400; difference +0.1750 [+0.1000, +0.2000]",
        "the best loss",
        "--model capillary-whole/1`",
    ):
        assert words in version.description
    run = server.client.get_run(version.tags[tags.EVALUATION_RUN])
    assert run.data.tags[f"{tags.TRAIN_RUNS}.dice_ce"] == ", ".join(str(one.run_id) for one in networks)
    assert "Evaluated as part of `capillary-whole/1`." in networks[0].description
    fold = server.client.get_run(str(networks[0].run_id))
    assert fold.data.metrics["evaluation.dsc"] == pytest.approx(0.56)  # the mean of volumes 0, 2 and 4
    assert fold.data.tags[tags.EVALUATION_RUN] == run.info.run_id
    assert published.name in server.client.get_registered_model("capillary-whole").description


def test_two_trainings_are_compared_side_by_side(store: Path, server: Server, tmp_path: Path) -> None:
    """The params of their runs that differ, and the paired difference."""
    for label, by in (("one", 0.1), ("other", 0.0)):
        training = made_training(shifted(by), name=label, registered_model="capillary-pair")
        publish(store, server, training, tmp_path / label)
    answer = compare_trainings("capillary-pair/1", "capillary-pair/2", server)
    assert {"name": "training.max_epochs", "one": "one", "other": "other"} in answer["params"]
    (metric,) = answer["metrics"]
    assert metric["paired"]["difference"] == pytest.approx(0.1)
    assert (metric["paired"]["volumes"], metric["one"]["mean"]) == (6, pytest.approx(0.675))


def test_what_cannot_be_a_training_is_refused(store: Path, server: Server, tmp_path: Path) -> None:
    """A name that holds networks; networks that are not there; a network where a training is meant."""
    for name, words in (
        (NETWORKS, "contains the networks of the loss dice_ce"),
        ("their-model", "begins with capillary-"),
    ):
        with pytest.raises(CapillaryError, match=words):
            publish(store, server, made_training(VALUES, registered_model=name), tmp_path / "name")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / FILE).write_bytes(training_json(made_training(VALUES, name="gone")))
    with pytest.raises(DataError, match="has no model capillary-dice_ce with the weights"):
        publish_training(server, run_of(store, "gone"), tmp_path / "gone")
    with pytest.raises(DataError, match="not a training"):
        compare_trainings(f"{NETWORKS}/1", f"{NETWORKS}/1", server)


def test_a_changed_training_file_is_refused(
    store: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other results than were registered, or no JSON: nobody promotes or predicts with them."""
    training = made_training(VALUES, name="changed", registered_model="capillary-changed")
    publish(store, server, training, tmp_path / "folder")
    better = made_training(shifted(0.1), name="changed", registered_model="capillary-changed")
    for content, words in (
        (training_json(better), "differs from the one that was registered"),
        (b"{", "not have the form that evaluate writes"),
    ):
        monkeypatch.setattr(reading, "fetch_file", lambda *_, content=content: content)
        with pytest.raises(DataError, match=words):
            find_versions("capillary-changed@champion", server)
