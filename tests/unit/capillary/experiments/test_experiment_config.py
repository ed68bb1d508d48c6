from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.experiments.config import read_experiment, with_overrides
from capillary.params_file import check_values, read_params_file
from stages.common.errors import ParamsError
from tests.support.parts import REPOSITORY

PARAMS: dict[str, dict[str, Any]] = {
    "ingest": {"source": "samples/phantom"},
    "preprocess": {"num_folds": 3, "splits_file": "configs/splits/generated.json", "max_volumes": None},
    "training": {
        "losses": ["dice_ce"],
        "learning_rate": 0.002,
        "nested": {"deep": 1},
        "folds": [0, 1, 2],
        "max_epochs": 10,
        "warmup_epochs": 2,
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vesselnn.yaml"


def write(file: Path, **sections: object) -> Path:
    file.write_text(yaml.safe_dump({"experiment": {"name": "v"}, **sections}))
    return file


def test_a_file_is_a_name_and_overrides(file: Path) -> None:
    """Sections nest as in params.yaml; the experiment's own section is not an override."""
    file.write_text(
        "experiment: {name: six-stacks_2, description: real ones}\n"
        "ingest: {source: ../stacks}\n"
        "training: {losses: [dice_ce, cbdice], nested: {deep: 1e-3}}\n"
    )
    config = read_experiment(file, PARAMS)
    assert (config.name, config.sections.experiment.description) == ("six-stacks_2", "real ones")
    assert config.overrides == {
        "ingest.source": "../stacks",
        "training.losses": ["dice_ce", "cbdice"],
        "training.nested.deep": 0.001,
    }


def test_a_file_without_overrides_runs_params_yaml_as_it_is(file: Path) -> None:
    """A name alone is a complete experiment."""
    assert read_experiment(write(file), PARAMS).overrides == {}


@pytest.mark.parametrize(
    ("sections", "what"),
    [
        (
            {"training": {"learning_rat": 1}},
            "unknown key `training.learning_rat`; did you mean `training.learning_rate`",
        ),
        ({"trainin": {"learning_rate": 1}}, "did you mean `training.learning_rate`"),
        ({"training": 3}, r"\[training\] holds no keys"),
        ({"training": None}, r"\[training\] holds no keys"),
        ({"training.max_epochs": 1, "training": {"max_epochs": 2}}, r"names `training\.max_epochs` twice"),
        ({"training": {"nested": 3}}, r"\[training\.nested\] holds no keys"),
        ({"experiment": {"name": "two words"}}, "name"),
        ({"experiment": {"name": "-x"}}, "name"),
        ({"experiment": {"name": "x" * 101}}, "name"),
        ({"training": {"num_folds": 1_000_000_000}}, "larger than 10,000"),
        ({"experiment": {"name": "a", "nam": 1}}, "unknown key `nam`; did you mean `name`"),
        ({"experiment": {"description": "x"}}, "has no name"),
        ({"experiment": "v"}, "has no name"),
        ({"experiment": None}, "has no name"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(file: Path, sections: dict[str, object], what: str) -> None:
    """A mistake is found before anything runs, and the message says in which file."""
    with pytest.raises(ParamsError, match=what) as caught:
        read_experiment(write(file, **sections), PARAMS)
    assert file.name in caught.value.report()


@pytest.mark.parametrize("name", ["overrides", "Overrides"])
def test_the_name_of_the_workspace_s_own_record_is_refused(file: Path, name: str) -> None:
    """The experiment's record would take its place, and params.yaml could not be put back."""
    with pytest.raises(ParamsError, match="is reserved") as caught:
        read_experiment(write(file, experiment={"name": name}), PARAMS)
    assert f"{name}_trial" in caught.value.remedy


def test_a_missing_file_names_those_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake in --config ends with a list to choose from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    (tmp_path / "configs" / "experiments" / "smoke.yaml").touch()
    with pytest.raises(ParamsError, match="no such experiment file") as caught:
        read_experiment(Path("smok.yaml"), PARAMS)
    assert "configs/experiments/smoke.yaml" in caught.value.remedy


def test_overrides_apply_to_a_copy() -> None:
    """What is checked is what will run, and params.yaml's own values stay."""
    merged = with_overrides(PARAMS, {"training.nested.deep": 2, "ingest.source": "x"})
    assert merged["training"] == {**PARAMS["training"], "nested": {"deep": 2}}
    assert PARAMS["training"]["nested"] == {"deep": 1}


def test_sections_that_are_no_params_are_typed(file: Path) -> None:
    """How to run has defaults; what is given is checked like a param."""
    assert read_experiment(write(file), PARAMS).sections.model_dump(exclude={"experiment"}) == {
        "compute": {"profile": "auto", "place": None, "docker_profile": "dev", "require_gpu": False},
        "monitoring": {"system_monitor": True, "monitor_interval_sec": 10.0, "memory_abort_process_rss_gb": None},
        "resume": {"enabled": True, "checkpoint_dir": None},
        "debug": {"enabled": False, "max_epochs": 1, "num_folds": 2, "max_volumes": 10},
        "services": (),
    }
    config = read_experiment(write(file, compute={"profile": "cpu"}, monitoring={"monitor_interval_sec": 2}), PARAMS)
    assert config.sections.compute.profile == "cpu"
    assert config.sections.monitoring.monitor_interval_sec == 2
    assert config.overrides == {}


@pytest.mark.parametrize(
    ("sections", "what"),
    [
        ({"compute": {"profil": "cpu"}}, "unknown key `profil`; did you mean `profile`"),
        ({"compute": {"docker_profile": "prod"}}, "docker_profile"),
        ({"monitoring": {"memory_abort_process_rss_gb": 0}}, "memory_abort_process_rss_gb"),
        ({"monitoring": {"monitor_interval_sec": "10"}}, "monitor_interval_sec"),
        ({"resume": {"enabled": "yes"}}, "enabled"),
        (
            {"resume": {"checkpoint_dir": "~/big"}},
            "`checkpoint_dir`: starts with ~, which only a shell replaces; write /",
        ),
        ({"debug": {"num_fold": 2}}, "did you mean `num_folds`"),
        ({"compte": {"profile": "cpu"}}, "did you mean"),
    ],
)
def test_a_mistake_in_such_a_section_is_named(file: Path, sections: dict[str, object], what: str) -> None:
    """Key, file and the nearest right name."""
    with pytest.raises(ParamsError, match=what) as caught:
        read_experiment(write(file, **sections), PARAMS)
    assert file.name in caught.value.report()


def test_a_number_of_folds_means_all_of_them(file: Path) -> None:
    """num_folds and splits_file are looked for under training; params.yaml has them under preprocess."""
    config = read_experiment(write(file, training={"num_folds": 4, "splits_file": "configs/splits/mine.json"}), PARAMS)
    assert config.overrides == {
        "preprocess.num_folds": 4,
        "training.folds": [0, 1, 2, 3],
        "preprocess.splits_file": "configs/splits/mine.json",
    }


def test_folds_that_are_named_are_those_that_are_trained(file: Path) -> None:
    """Two of five, rather than all of them."""
    config = read_experiment(write(file, training={"num_folds": 5, "folds": [0, 2]}), PARAMS)
    assert config.overrides == {"preprocess.num_folds": 5, "training.folds": [0, 2]}


@pytest.mark.parametrize(("key", "value", "other"), [("num_folds", 5, 3), ("splits_file", "a.json", "b.json")])
def test_one_key_under_two_names_has_one_value(file: Path, key: str, value: object, other: object) -> None:
    """No value is left out in silence; the same one twice is no mistake."""
    with pytest.raises(ParamsError, match=f"`training.{key}` and `preprocess.{key}` are the same key"):
        read_experiment(write(file, training={key: value}, preprocess={key: other}), PARAMS)
    config = read_experiment(write(file, training={key: value}, preprocess={key: value}), PARAMS)
    assert config.overrides[f"preprocess.{key}"] == value


def test_a_number_of_folds_that_is_none_is_left_to_the_check_of_values(file: Path) -> None:
    """It names the key and what it may be; nothing is made of a word."""
    config = read_experiment(write(file, training={"num_folds": "three"}), PARAMS)
    assert config.overrides == {"preprocess.num_folds": "three"}


@pytest.mark.parametrize("key", ["warmup_epochs", "folds", "seeds"])
def test_a_rehearsal_leaves_a_value_of_another_type_to_the_check_of_values(file: Path, key: str) -> None:
    """It names the key; slicing a number would be a traceback."""
    known = {**PARAMS, "training": {**PARAMS["training"], "seeds": []}}
    config = read_experiment(write(file, training={key: "three" if key == "warmup_epochs" else 3}), known, debug=True)
    assert config.overrides[f"training.{key}"] in ("three", 3)


@pytest.mark.parametrize("section", [5, [1]])
def test_the_flag_does_not_hide_a_section_of_another_type(file: Path, section: object) -> None:
    """As without the flag."""
    with pytest.raises(ParamsError, match="debug"):
        read_experiment(write(file, debug=section), PARAMS, debug=True)


def test_the_flag_keeps_what_the_file_says_about_a_rehearsal(file: Path) -> None:
    """--debug switches the section on, and changes none of its values."""
    written = write(file, debug={"max_epochs": 3, "num_folds": 1, "max_volumes": 4})
    assert read_experiment(written, PARAMS).name == "v"
    config = read_experiment(written, PARAMS, debug=True)
    assert config.name == "v-debug"
    assert (config.overrides["training.max_epochs"], config.overrides["training.folds"]) == (3, [0])
    assert config.overrides["preprocess.max_volumes"] == 4


def test_a_rehearsal_is_short_and_has_a_name_of_its_own(file: Path) -> None:
    """--debug: one epoch, two folds, ten volumes; never in the place of the real run."""
    config = read_experiment(write(file, training={"max_epochs": 50}), PARAMS, debug=True)
    assert config.name == "v-debug"
    assert config.overrides == {
        "training.max_epochs": 1,
        "training.warmup_epochs": 0,
        "training.folds": [0, 1],
        "preprocess.max_volumes": 10,
        "preprocess.splits_file": "configs/splits/generated.json",
    }
    own = read_experiment(write(file, debug={"enabled": True, "max_epochs": 3, "num_folds": 1}), PARAMS)
    assert own.name == "v-debug"
    assert own.overrides["training.max_epochs"] == 3
    assert own.overrides["training.warmup_epochs"] == 2
    assert own.overrides["training.folds"] == [0]


@pytest.mark.parametrize(
    ("preprocess", "training", "expected"),
    [
        ({"num_folds": 12}, {"folds": [0, 1, 2]}, (10, [0, 1], 10)),
        ({"num_folds": 12}, {"folds": [11]}, (10, [0, 1], 10)),
        ({"num_folds": 1, "splits_file": "configs/splits/own.json"}, {"folds": [0]}, (2, [0], 10)),
        ({"num_folds": 3, "max_volumes": 4}, {"folds": [2]}, (3, [2], 4)),
    ],
    ids=["more folds than volumes", "a fold beyond them", "one fold of its own", "fewer volumes"],
)
def test_a_rehearsal_fits_its_few_volumes(
    file: Path, preprocess: dict[str, object], training: dict[str, object], expected: tuple[object, ...]
) -> None:
    """Whatever the whole run's folds are, and never on more volumes than that."""
    params = read_params_file(REPOSITORY)
    config = read_experiment(write(file, preprocess=preprocess, training=training), params, debug=True)
    merged = with_overrides(params, config.overrides)
    check_values(merged, REPOSITORY, origin=str(file))
    found = merged["preprocess"]["num_folds"], merged["training"]["folds"], merged["preprocess"]["max_volumes"]
    assert found == expected


@pytest.mark.parametrize("training", [{"warmup_epochs": "two"}, {"folds": 2}])
def test_a_wrong_value_of_a_rehearsal_is_left_to_the_check_of_values(file: Path, training: dict[str, object]) -> None:
    """It names the key and what it may be."""
    params = read_params_file(REPOSITORY)
    config = read_experiment(write(file, training=training), params, debug=True)
    with pytest.raises(ParamsError, match=next(iter(training))):
        check_values(with_overrides(params, config.overrides), REPOSITORY, origin=str(file))


@pytest.mark.parametrize("experiment_file", sorted((REPOSITORY / "configs" / "experiments").glob("*.yaml")), ids=str)
@pytest.mark.parametrize("debug", [False, True])
def test_shipped_files_are_right(experiment_file: Path, debug: bool) -> None:
    """Each, and the rehearsal of each, is accepted with all its values."""
    params = read_params_file(REPOSITORY)
    config = read_experiment(experiment_file, params, debug=debug)
    check_values(with_overrides(params, config.overrides), REPOSITORY, origin=str(experiment_file))


def test_a_value_that_is_a_mapping_is_one_override(file: Path) -> None:
    """Whatever params.yaml has in its place: nothing, a list, or another mapping."""
    written = write(file, preprocess={"test_groups": {"share": 0.2, "seed": 1}}, training={"seeds": [1, 2]})
    key = "preprocess.test_groups"
    for before in (None, ["a"], {"share": 0.5, "seed": 3}):
        params = with_overrides(PARAMS, {key: before, "training.seeds": []})
        config = read_experiment(written, params, declared={key, "training.seeds"})
        assert config.overrides == {key: {"share": 0.2, "seed": 1}, "training.seeds": [1, 2]}
        assert with_overrides(params, config.overrides)["preprocess"]["test_groups"] == {"share": 0.2, "seed": 1}
    params = with_overrides(PARAMS, {key: None, "training.seeds": []})
    rehearsal = read_experiment(written, params, debug=True, declared={key})
    assert rehearsal.overrides["training.seeds"] == [1]


def test_a_key_that_was_retired_says_what_replaced_it(file: Path) -> None:
    """Not that it is unknown, which would send people looking for a spelling mistake."""
    with pytest.raises(
        ParamsError, match=r"evaluation\.bootstrap. is no longer a key: intervals are Student's"
    ) as caught:
        read_experiment(write(file, evaluation={"bootstrap": "bca"}), PARAMS)
    assert caught.value.remedy == "remove `evaluation.bootstrap`"


def test_the_name_of_a_loss_is_not_one_of_an_experiment(file: Path) -> None:
    """Networks of the loss are registered under it; a longer name that begins so is fine."""
    with pytest.raises(ParamsError, match="dice_ce is the name of a loss") as caught:
        read_experiment(write(file, experiment={"name": "dice_ce"}), PARAMS)
    assert "dice_ce_trial" in caught.value.remedy
    assert read_experiment(write(file, experiment={"name": "dice_ce_trial"}), PARAMS).name == "dice_ce_trial"
