"""Train: data/train.csv becomes a model in the MLflow registry."""
