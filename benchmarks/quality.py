"""How good a network a plain MONAI loop makes of the same stacks, next to what an experiment reached.

    python benchmarks/quality.py [--config FILE] [--steps N] [--per-volume metrics/per_volume.csv] [--json]

The loop of MONAI's tutorials (plain_monai.py) under bf16 autocast trains the experiment's network, without deep
supervision, on its patches and folds for N steps per fold, at its learning rates over so many steps. Each stack is
predicted by the fold that did not see it and measured as the evaluate stage measures it. With --per-volume the
experiment's own numbers stand next to these.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import yaml

from benchmarks.plain_monai import PlainLoop, set_up
from benchmarks.training import REPOSITORY, prepared
from stages.common.imaging.volumes import Volume
from stages.common.inference import predict_probability
from stages.common.networks.catalogue import build_network
from stages.common.splits import read_splits
from stages.evaluate.measure import measure
from stages.train.cell import Cell, plan_cell
from stages.train.loop.schedule import plan_schedule
from stages.train.params import TrainingParams

METRICS = ("dsc", "centreline_dsc")
STEPS_PER_EPOCH = 25
EXPERIMENT = REPOSITORY / "configs" / "experiments" / "vesselnn.yaml"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Scores = dict[str, dict[str, float]]  # stack → metric → value


def read_experiment(file: Path, steps: int) -> tuple[Path, TrainingParams]:
    """The source of `file` and its training, cut or stretched to `steps`."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["training"]
    experiment = yaml.safe_load(file.read_text())
    values = {key: value for key, value in shipped.items() if key in TrainingParams.model_fields}
    asked = {key: value for key, value in experiment["training"].items() if key in TrainingParams.model_fields}
    length = {"steps_per_epoch": STEPS_PER_EPOCH, "max_epochs": steps // STEPS_PER_EPOCH}
    source = REPOSITORY / experiment["ingest"]["source"]
    return source, TrainingParams.model_validate(values | asked | length, strict=False)


def trained(cell: Cell) -> PlainLoop:
    """The plain loop after all its steps."""
    params, schedule = cell.params, plan_schedule(cell.params)
    network = build_network(cell.plan, params.seed, architecture=params.architecture, deep_supervision=False)
    loop = set_up(network, cell.training, cell.validation, params, DEVICE, torch.bfloat16)
    for epoch in range(params.max_epochs):
        for number, batch in enumerate(loop.epoch()):
            loss = loop.step(batch, schedule.learning_rate(epoch * params.steps_per_epoch + number))
        print(f"fold {cell.fold} epoch {epoch + 1}/{params.max_epochs} last loss {loss:.3f}", file=sys.stderr)
    return loop


def score(network: torch.nn.Module, volume: Volume, params: TrainingParams) -> dict[str, float]:
    """METRICS of one stack."""
    probability = predict_probability(network, volume.image(), params.patch_voxels, 0.5, autocast_dtype=torch.bfloat16)
    label = volume.label() > 0
    found = measure(
        probability > 0.5, label, volume.spacing_um, metrics=METRICS, nsd_tolerance_um=2.0, radius_bands_um=()
    )
    return dict(found.values)


def read_scores(file: Path) -> dict[str, Scores]:
    """Those of an experiment, by loss."""
    scores: dict[str, Scores] = {}
    with file.open(newline="") as stream:
        for row in csv.DictReader(stream):
            scores.setdefault(row["loss"], {})[row["id"]] = {metric: float(row[metric]) for metric in METRICS}
    return scores


def mean(scores: Scores) -> dict[str, float]:
    """Over stacks."""
    return {metric: statistics.mean(one[metric] for one in scores.values()) for metric in METRICS}


def print_table(columns: dict[str, Scores]) -> None:
    """One line per stack: DSC and centreline DSC of each column."""
    lines = {name: [*scores.items(), ("mean", mean(scores))] for name, scores in columns.items()}
    print(f"{'DSC / centreline DSC':<34}" + "".join(f"{name:>20}" for name in columns))
    reference = next(iter(lines.values()))
    for stack in [name for name, _ in reference]:
        cells = (dict(rows).get(stack) for rows in lines.values())
        shown = (f"{one['dsc']:.3f} / {one['centreline_dsc']:.3f}" if one else "–" for one in cells)
        print(f"{stack:<34}" + "".join(f"{text:>20}" for text in shown))


def main() -> None:
    """Train, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=EXPERIMENT, help="an experiment file")
    parser.add_argument("--steps", type=int, default=500, help="of each fold")
    parser.add_argument("--per-volume", type=Path, help="metrics/per_volume.csv of the experiment")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    source, params = read_experiment(arguments.config, arguments.steps)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    scores: Scores = {}
    with tempfile.TemporaryDirectory() as folder:
        processed = prepared(Path(folder), source)
        started = time.process_time()
        for fold in range(len(read_splits(processed / "splits.json"))):
            cell = plan_cell(processed, params, "dice_ce", fold)
            network = trained(cell).network
            scores |= {volume.id: score(network, volume, params) for volume in cell.validation}
        cpu_min = (time.process_time() - started) / 60
    columns = {"plain MONAI, bf16": scores} | (read_scores(arguments.per_volume) if arguments.per_volume else {})
    if arguments.json:
        print(json.dumps({"cpu_min": cpu_min, "mean": {name: mean(one) for name, one in columns.items()}}))
    else:
        print_table(columns)
        print(f"plain loop: {arguments.steps} steps a fold, {cpu_min:.0f} CPU minutes with its predictions")


if __name__ == "__main__":
    main()
