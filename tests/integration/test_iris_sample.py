"""samples/iris as a student runs it in a clone, as plain processes."""

import json
from pathlib import Path

import pytest

from tests.support.clone import Clone

STAGES = ["ingest", "validate", "preprocess", "train", "evaluate"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A fresh clone of the repository."""
    return Clone(tmp_path_factory.mktemp("iris") / "clone")


@pytest.fixture(scope="module")
def iris(clone: Clone) -> Clone:
    """The sample in it, which ran; the root's status is the same before and after."""
    before = clone.run("dvc", "status", "--json").stdout
    root, clone.root = clone.root, clone.root / "samples" / "iris"
    assert clone.ran(clone.run("dvc", "repro").stdout) == STAGES
    clone.root = root
    assert clone.run("dvc", "status", "--json").stdout == before
    assert "iris" not in before
    clone.root = root / "samples" / "iris"
    return clone


def test_a_run_gives_a_registered_model_and_its_confusion_matrix(iris: Clone) -> None:
    """The model is numbers in JSON, in the registry; models/ has a card that names it."""
    metrics = json.loads((iris.root / "metrics" / "metrics.json").read_text())
    assert metrics["flowers"] == 45
    assert metrics["accuracy"] > 0.9
    rows = (iris.root / "metrics" / "confusion.csv").read_text().splitlines()
    assert sum(int(cell) for row in rows[1:] for cell in row.split(",")[1:]) == 45
    card = json.loads((iris.root / "models" / "card.json").read_text())
    version = iris.client().get_model_version("iris", card["version"])
    assert set(json.loads(Path(version.source, "model.json").read_text())) >= {"coefficients", "intercepts"}
    assert [file.name for file in Path(version.source).iterdir()] == ["model.json"]


def test_the_second_run_runs_nothing(iris: Clone) -> None:
    """Nothing that a stage reads has changed."""
    assert iris.ran(iris.run("dvc", "repro").stdout) == []


def test_what_is_not_declared_cannot_be_read(iris: Clone) -> None:
    """The tutorial asks for it: the run fails with the name of the file, and the previous table is still there."""
    main = iris.root / "stages" / "preprocess" / "__main__.py"
    text = main.read_text()
    main.write_text(text.replace('"data/valid.csv"', '"data/raw.csv"'))
    done = iris.run("dvc", "repro", "preprocess", check=False)
    main.write_text(text)
    assert done.returncode != 0
    assert "data/raw.csv" in done.stderr
    assert (iris.root / "data" / "train.csv").is_file()


def test_a_wrong_param_is_refused_before_a_stage_starts(iris: Clone) -> None:
    """By the model of the stage that reads it, though another one would have run first."""
    params = iris.root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("regularisation: 1.0", "regularisation: -1.0").replace("seed: 42", "seed: 43"))
    done = iris.run("dvc", "repro", check=False)
    params.write_text(text)
    assert "params.yaml [train] `regularisation`" in done.stderr
    assert (iris.root / "data" / "train.csv").is_file()


def test_a_wrong_table_stops_at_validate(iris: Clone) -> None:
    """With the column, the check and the row."""
    source = iris.root / "source" / "iris.csv"
    text = source.read_text()
    source.write_text(text.replace("5.1,3.5,1.4,0.2,setosa", "5.1,3.5,-1.4,0.2,setosa", 1))
    done = iris.run("dvc", "repro", check=False)
    source.write_text(text)
    assert done.returncode != 0
    assert "petal_length_cm" in done.stderr
    assert "remedy: correct the source" in done.stderr
