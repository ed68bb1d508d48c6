"""python -m stages.validate: data/raw.csv → data/valid.csv, or the run stops."""

import pandas as pd
from pandera.errors import SchemaErrors

from stages.common.errors import StageError, run_main
from stages.validate.schema import SCHEMA


def main() -> None:
    """Check every row; what the later stages get is known to be right."""
    flowers = pd.read_csv("data/raw.csv")
    try:
        SCHEMA.validate(flowers, lazy=True).to_csv("data/valid.csv", index=False)
    except SchemaErrors as errors:
        wrong = errors.failure_cases[["column", "check", "failure_case", "index"]].head(10).to_string(index=False)
        raise StageError(f"the table is not as it should be\n{wrong}", remedy="correct the source") from errors
    print(f"{len(flowers)} flowers are valid")


if __name__ == "__main__":
    run_main(main)
