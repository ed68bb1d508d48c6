from pathlib import Path

import pytest
import yaml

from stages.common.errors import ParamsError
from stages.common.params import validate_params
from stages.train.params import TrainParams, load_training
from tests.unit.stages.train.tiny import PARAMS

ROOT = Path(__file__).parents[4]


def test_the_keys_are_those_that_the_graph_declares_and_the_committed_values_are_valid() -> None:
    """dvc.yaml, params.yaml and the model name the same keys."""
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["params"]
    training = yaml.safe_load((ROOT / "params.yaml").read_text())["training"]
    visible = {key.removeprefix("training."): training[key.removeprefix("training.")] for key in declared}
    params = validate_params(TrainParams, {"training": visible}, "params.yaml")
    assert set(params.training.model_dump()) == set(visible)


def test_a_further_seed_takes_the_place_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of further seeds sees no training.seed, so that it does not depend on it."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"training": PARAMS}))
    first = load_training(None)
    assert first.seed == PARAMS["seed"]
    with pytest.raises(ParamsError, match="seed"):
        load_training(7)  # visible, though it is not to be read
    Path("params.yaml").write_text(yaml.safe_dump({"training": {k: v for k, v in PARAMS.items() if k != "seed"}}))
    assert load_training(7) == first.model_copy(update={"seed": 7})
    with pytest.raises(ParamsError, match="seed"):
        load_training(-1)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_epochs", 0, "greater than 0"),
        ("max_epochs", "3", "integer"),
        ("batch_size", -1, "greater than 0"),
        ("patch_voxels", [8, 64], "patch_voxels"),
        ("patch_voxels", [8, 64, 0], "greater than 0"),
        ("foreground_share", 1.5, "less than or equal to 1"),
        ("filters", [16, 32], "3 to 6 entries"),
        ("filters", [32, 16, 64], "smaller with depth"),
        ("learning_rate", 0.0, "greater than 0"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("warmup_epochs", -1, "greater than or equal to 0"),
        ("precision", "fp8", "'auto', 'fp32' or 'bf16'"),
        ("augmentation", "heavy", "'standard' or 'none'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_the_rule(key: str, value: object, message: str) -> None:
    """The message says which key broke which rule."""
    with pytest.raises(ParamsError) as refusal:
        validate_params(TrainParams, {"training": {**PARAMS, key: value}}, "params.yaml")
    assert key in refusal.value.report()
    assert message in refusal.value.report()


def test_an_unknown_key_is_refused_with_the_nearest_known_one() -> None:
    """A typing error never trains."""
    with pytest.raises(ParamsError, match="did you mean `learning_rate`"):
        validate_params(TrainParams, {"training": {**PARAMS, "learning_rat": 1}}, "params.yaml")
