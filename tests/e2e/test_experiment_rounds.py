"""Real trainings side by side, with failures and kills at random: dvc.lock and the registry afterwards."""

import contextlib
import random
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.chaos import BY_HAND, rounds
from tests.support.clone import TINY, Clone
from tests.support.processes import kill_family

# Twelve trainings and over two minutes per round. `./just test` has in test_experiment.py an experiment that is killed
# as a whole and one of whose cells is killed, and in integration/experiments cells that are killed at random.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BY_HAND, reason="by hand: ./just test-chaos")]
ROUNDS = rounds(1, by_hand=30)
LOSSES, FOLDS = ("dice_ce", "cbdice"), tuple(range(6))
FILE = "configs/experiments/rounds.yaml"


def write_experiment(clone: Clone) -> tuple[str, ...]:
    """The command for the small trainings, whose file is written first."""
    tree: dict[str, dict[str, object]] = {"experiment": {"name": "rounds"}}
    for key, value in TINY.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = yaml.safe_load(value)
    tree["training"] |= {"losses": list(LOSSES), "folds": list(FOLDS)}
    tree["preprocess"] = {"num_folds": len(FOLDS)}
    (clone.root / FILE).write_text(yaml.safe_dump(tree))
    return ("capillary", "experiment", "--config", FILE)


def recorded(clone: Clone) -> dict[str, str]:
    """Trainings in dvc.lock, with the checksum of their card."""
    file = clone.root / "dvc.lock"
    stages = (yaml.safe_load(file.read_text()) or {}).get("stages", {}) if file.exists() else {}
    return {name: str(stage["outs"]) for name, stage in stages.items() if name.startswith("train@")}


def disturb(process: psutil.Popen, draw: random.Random) -> None:
    """Kill trainings now and then, each of which its cell takes for a failure; half of the time, everything at last."""
    deadline = time.monotonic() + draw.uniform(15, 60)
    end_all = draw.random() < 0.5
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(draw.uniform(2, 12))
        trainings = [one for one in family(process) if "stages.train" in " ".join(one.info["cmdline"] or [])]
        if trainings:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                draw.choice(trainings).kill()
    if end_all and process.poll() is None:
        kill_family(process)
    process.wait()


def family(process: psutil.Popen) -> list[psutil.Process]:
    """The processes of the experiment; none when it has ended meanwhile."""
    wanted = set()
    try:
        wanted = {one.pid for one in process.children(recursive=True)}
    except psutil.NoSuchProcess:
        return []
    return [one for one in psutil.process_iter(["cmdline"]) if one.pid in wanted]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_every_finished_training_is_recorded_and_registered_once(number: int, tmp_path: Path) -> None:
    """Whatever the first run met: what it recorded is kept, and each cell ends with one run and one model version."""
    clone = Clone(tmp_path / "clone")
    argv = write_experiment(clone)
    with (tmp_path / "log").open("wb") as log:
        process = psutil.Popen(
            argv, cwd=clone.root, env=clone.environment(), stdout=log, stderr=log, start_new_session=True
        )
        disturb(process, random.Random(20261121 + number))

    before = recorded(clone)
    clone.run(*argv)
    after = recorded(clone)
    assert set(after) == {f"train@{loss}-{fold}" for loss in LOSSES for fold in FOLDS}
    assert {name: after[name] for name in before} == before, "a recorded training was trained again"

    runs = clone.training_runs()
    assert Counter(run.data.tags["capillary.stage"] for run in runs) == Counter(list(after))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [clone.doubled_points(run) for run in runs] == [[]] * len(runs)
    versions = [
        (loss, version.run_id)
        for loss in LOSSES
        for version in clone.client().search_model_versions(f"name='capillary-{loss}'")
    ]
    cards = [(loss, clone.receipt(loss, fold)["run_id"]) for loss in LOSSES for fold in FOLDS]
    assert sorted(versions) == sorted(cards)
