"""python -m stages.train: data/train.csv → a model in the MLflow registry, and models/card.json that names it."""

from pathlib import Path

import pandas as pd

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.common.tracking import connect, register, write_card
from stages.train.fit import fit
from stages.train.params import TrainParams


def main() -> None:
    """Fit, register, write the card."""
    params = load_params(TrainParams).train
    flowers = pd.read_csv("data/train.csv")
    model = fit(flowers, regularisation=params.regularisation, max_iterations=params.max_iterations)
    predicted = model.predict(flowers[list(model.features)].to_numpy())
    accuracy = float((flowers["species"] == predicted).mean())
    card = register(connect(), params.model_name, model, params.model_dump(), {"train_accuracy": accuracy})
    write_card(Path("models/card.json"), card)
    print(f"registered version {card.version} of {card.name}, accuracy on its own flowers {accuracy:.3f}")


if __name__ == "__main__":
    run_main(main)
