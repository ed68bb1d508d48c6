"""What a real embedded registry gives of how its models came to be, and what of it is refused."""

import json
import math
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from stages.common.errors import CapillaryError, ServiceError
from stages.common.provenance.record import FOLDER, MOST_BYTES, PARAMS, RECORD, record_bytes
from stages.common.requests.reproduction import EVALUATION, read_fetched
from stages.common.tracking.registry import CARD_TAG, WEIGHTS_TAG
from stages.common.tracking.server import Server, connect
from stages.models.provenance import fetch_provenance
from tests.support.models.pickled import Planted
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.provenance import provenance_record
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.common.tracking.opened import Failing

NAME, TRAINING = "capillary-dice_ce", "capillary-default"
FILES = {RECORD: record_bytes(provenance_record()), PARAMS: b"training: {}\n"}


class Registry:
    """Versions with nothing but tags and a few files, in an embedded store."""

    def __init__(self, store: Path) -> None:
        self.server: Server = connect(embedded_runtime(store))
        self._folder = store / "files"
        self._folder.mkdir()
        self._experiment = self.server.client.create_experiment("capillary", artifact_location=str(store / "artifacts"))

    def network(self, fold: int, files: dict[str, bytes], **tags: str) -> str:
        """The number of a new version of a network, whose run has `files` as its provenance."""
        usual = {"capillary.fold": str(fold), WEIGHTS_TAG: f"{fold}" * 64, CARD_TAG: '{"validation_dsc": 0.5}'}
        return self._register(NAME, {f"{FOLDER}/{name}": content for name, content in files.items()}, {**usual, **tags})

    def training(self, content: object, recorded: dict[str, bytes] | None = None) -> str:
        """The number of a new version of a training with `content` in its training.json, evaluated as `recorded`."""
        files = {f"{FOLDER}/{name}": file for name, file in (recorded or {}).items()}
        files["model/training.json"] = json.dumps(content).encode()
        return self._register(TRAINING, files, {"capillary.kind": "training"})

    def planted_training(self, files: dict[str, bytes], planted: dict[str, bytes]) -> str:
        """The number of a training of one network with `files`; the artifacts of both hold `planted` as well."""
        tags = {"capillary.fold": "0", WEIGHTS_TAG: "0" * 64, CARD_TAG: '{"validation_dsc": 0.5}'}
        network = self._register(NAME, {**planted, **files}, tags)
        training = json.dumps({"cells": [cell(0, network)]}).encode()
        return self._register(TRAINING, {**planted, "model/training.json": training}, {"capillary.kind": "training"})

    def _register(self, name: str, files: dict[str, bytes], tags: dict[str, str]) -> str:
        client = self.server.client
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        run = client.create_run(self._experiment)
        for path, content in files.items():
            local = self._folder / Path(path).name
            local.write_bytes(content)
            client.log_artifact(run.info.run_id, str(local), str(Path(path).parent))
        source = f"{run.info.artifact_uri}/model"
        return str(client.create_model_version(name, source=source, run_id=run.info.run_id, tags=tags).version)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(start_store(tmp_path_factory.mktemp("registry")))


def cell(fold: int, version: str, **changes: Any) -> dict[str, Any]:
    """A cell as training.json has it."""
    return {
        "loss": "dice_ce",
        "fold": fold,
        "name": NAME,
        "version": version,
        "weights_sha256": f"{fold}" * 64,
        **changes,
    }


def test_a_network_and_a_training_are_described(registry: Registry, tmp_path: Path) -> None:
    """Cells with weights and scores, means of the metrics, the files of each run; a bare name is the newest."""
    first = registry.network(0, FILES)
    second = registry.network(1, {**FILES, "other.bin": b"x"})
    unlike = {"huge": {"mean": 10**400}, "infinite": {"mean": math.inf}, "a switch": {"mean": True}}  # no means
    summary = {"dsc": {"mean": 0.75}, "nsd": {"mean": None}, **unlike}
    number = registry.training({"cells": [cell(0, first), cell(1, second)], "summary": summary})

    fetch_provenance(f"{TRAINING}/{number}", tmp_path / "training", registry.server)
    fetched = read_fetched(tmp_path / "training")
    assert (fetched.kind, fetched.metrics) == ("training", {"dsc": 0.75})
    assert [(one.fold, one.version, one.validation_dsc) for one in fetched.cells] == [(0, first, 0.5), (1, second, 0.5)]
    assert sorted(file.name for file in (tmp_path / "training" / "1").iterdir()) == [PARAMS, RECORD]
    assert not (tmp_path / "training" / EVALUATION).exists(), "a version from before evaluate recorded it"

    evaluated = registry.training({"cells": [cell(0, first)], "summary": summary}, FILES)
    fetch_provenance(f"{TRAINING}/{evaluated}", tmp_path / "evaluated", registry.server)
    assert sorted(file.name for file in (tmp_path / "evaluated" / EVALUATION).iterdir()) == [PARAMS, RECORD]

    registry.server.client.set_registered_model_alias(TRAINING, "champion", number)
    fetch_provenance(f"{TRAINING}@champion", tmp_path / "champion", registry.server)
    assert read_fetched(tmp_path / "champion") == fetched

    fetch_provenance(NAME, tmp_path / "newest", registry.server)
    fetched = read_fetched(tmp_path / "newest")
    assert (fetched.kind, fetched.label, fetched.metrics) == ("network", f"{NAME}/{second}", {})


def test_code_planted_in_a_training_and_its_runs_is_not_run(registry: Registry, tmp_path: Path) -> None:
    """Pickles and programs next to everything that is read, under every name that some loader would take."""
    marker = tmp_path / "planted"
    trap, code = pickle.dumps(Planted(marker)), f"open({str(marker)!r}, 'w').close()\n".encode()
    flavour = b"flavors:\n  python_function: {loader_module: planted, code: model, python_model: python_model.pkl}\n"
    names = {"python_model.pkl": trap, "model.pth": trap, "planted.py": code, "__init__.py": code, "MLmodel": flavour}
    planted = {f"{room}/{name}": content for room in (FOLDER, "evaluation", "model") for name, content in names.items()}
    number = registry.planted_training({f"{FOLDER}/{name}": content for name, content in FILES.items()}, planted)

    fetch_provenance(f"{TRAINING}/{number}", tmp_path / "training", registry.server)
    assert not marker.exists()
    assert "planted" not in sys.modules
    assert sorted(file.name for file in (tmp_path / "training" / "0").iterdir()) == [PARAMS, RECORD]
    pickle.loads(trap)  # that the trap works
    assert marker.exists()


@pytest.mark.parametrize(
    ("files", "tags", "said"),
    [
        ({}, {}, "there is no record"),
        ({**FILES, PARAMS: b"x" * (MOST_BYTES[PARAMS] + 1)}, {}, "does not have the form that capillary writes"),
        (FILES, {WEIGHTS_TAG: "short"}, "is not a network"),
        (FILES, {"capillary.fold": "x"}, "is not a network"),
        (FILES, {CARD_TAG: '{"validation_dsc": "high"}'}, "is not a network"),
    ],
)
def test_a_network_of_another_form_is_refused(
    registry: Registry, tmp_path: Path, files: dict[str, bytes], tags: dict[str, str], said: str
) -> None:
    """With what is missing or wrong."""
    number = registry.network(0, files, **tags)
    with pytest.raises(CapillaryError, match=said):
        fetch_provenance(f"{NAME}/{number}", tmp_path / "f", registry.server)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"cells": []},
        {"cells": ["x"]},
        {"cells": [cell(0, "1", name="other-model")]},
        {"cells": [cell(0, "1; x")]},
        {"cells": [cell(0, "1", weights_sha256="f" * 64)]},
    ],
)
def test_a_training_of_another_form_is_refused(registry: Registry, tmp_path: Path, content: object) -> None:
    """Its cells must be versions of capillary's models that hold the weights it names."""
    registry.network(0, FILES)
    number = registry.training(content)
    with pytest.raises(CapillaryError, match="does not have the form that evaluate registers"):
        fetch_provenance(f"{TRAINING}/{number}", tmp_path / "f", registry.server)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("capillary-none", "has no model capillary-none"),
        ("x' OR name LIKE '%", "not the name of a model"),
        (f"{NAME}/999", "has no version 999"),
        (f"{NAME}@none", "has no alias none"),
    ],
)
def test_an_unknown_model_is_refused(registry: Registry, tmp_path: Path, reference: str, words: str) -> None:
    """Also a name that would change the question."""
    registry.network(0, FILES)
    with pytest.raises(CapillaryError, match=words):
        fetch_provenance(reference, tmp_path / "f", registry.server)


@pytest.mark.parametrize("reference", [NAME, f"{NAME}/1", f"{NAME}@champion"])
def test_an_expired_token_is_no_missing_model(tmp_path: Path, reference: str) -> None:
    """Whoever trusts that trains a model again that is there."""
    expired = RestException({"error_code": "UNAUTHENTICATED", "message": "the token has expired"})
    asked = dict.fromkeys(("get_model_version", "search_model_versions", "get_registered_model"), expired)
    server = Server(client=Failing(MlflowClient("http://h:1"), **asked), uri="http://h:1")
    with pytest.raises(ServiceError, match="refuses this login"):
        fetch_provenance(reference, tmp_path / "f", server)
