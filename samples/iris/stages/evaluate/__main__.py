"""python -m stages.evaluate: the registered model on data/test.csv → metrics/."""

import json
from pathlib import Path

import pandas as pd

from stages.common.errors import run_main
from stages.common.tracking import connect, load, read_card

METRICS = Path("metrics")


def main() -> None:
    """Load the model from the registry, predict, count."""
    model = load(connect(), read_card(Path("models/card.json")))
    flowers = pd.read_csv("data/test.csv")
    seen = pd.DataFrame({"actual": flowers["species"]})
    seen["predicted"] = model.predict(flowers[list(model.features)].to_numpy())
    seen.to_csv(METRICS / "predictions.csv", index=False)
    pd.crosstab(seen["actual"], seen["predicted"]).to_csv(METRICS / "confusion.csv")
    right = seen["actual"] == seen["predicted"]
    recall = {name: float(each.mean()) for name, each in right.groupby(seen["actual"])}
    metrics = {"accuracy": float(right.mean()), "flowers": len(seen), "recall": recall}
    (METRICS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"accuracy {right.mean():.3f} on {len(seen)} flowers")


if __name__ == "__main__":
    run_main(main)
