"""python -m stages.ingest: the table at ingest.source → data/raw.csv, unchanged."""

import shutil

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.ingest.params import IngestParams


def main() -> None:
    """Copy the table. A source elsewhere (a database, an API) would be read here, and nowhere else."""
    source = load_params(IngestParams).ingest.source
    shutil.copyfile(source, "data/raw.csv")
    print(f"copied {source}")


if __name__ == "__main__":
    run_main(main)
