"""What a table of flowers must be."""

import pandera.pandas as pa

SPECIES = ("setosa", "versicolor", "virginica")
LEAST_FLOWERS = 10  # of each species


def _length_cm() -> pa.Column:
    return pa.Column(float, pa.Check.in_range(0, 15, include_min=False))


SCHEMA = pa.DataFrameSchema(
    {
        "sepal_length_cm": _length_cm(),
        "sepal_width_cm": _length_cm(),
        "petal_length_cm": _length_cm(),
        "petal_width_cm": _length_cm(),
        "species": pa.Column(str, pa.Check.isin(SPECIES)),
    },
    checks=pa.Check(
        lambda flowers: all((flowers["species"] == name).sum() >= LEAST_FLOWERS for name in SPECIES),
        error=f"each species has {LEAST_FLOWERS} flowers or more",
    ),
    strict=True,
)
