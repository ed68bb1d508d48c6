"""Fitting: a logistic regression on scaled features, written as one that reads plain centimetres."""

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.common.model import Model


def fit(flowers: pd.DataFrame, *, regularisation: float, max_iterations: int) -> Model:
    """The model of `flowers`, whose columns are features in cm and `species`."""
    features = [name for name in flowers.columns if name != "species"]
    scaler, regression = StandardScaler(), LogisticRegression(C=regularisation, max_iter=max_iterations)
    make_pipeline(scaler, regression).fit(flowers[features].to_numpy(), flowers["species"].to_numpy())
    # w · (x - mean) / scale + b = (w / scale) · x + (b - (w / scale) · mean): so the scaler is part of the model
    coefficients = regression.coef_ / scaler.scale_
    intercepts = regression.intercept_ - coefficients @ scaler.mean_
    return Model(
        species=tuple(map(str, regression.classes_)),
        features=tuple(features),
        coefficients=tuple(tuple(map(float, row)) for row in coefficients),
        intercepts=tuple(map(float, intercepts)),
    )
