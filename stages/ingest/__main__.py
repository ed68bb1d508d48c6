"""python -m stages.ingest: the stacks at ingest.source → data/raw."""

from pathlib import Path

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.common.runtime import read_runtime
from stages.ingest.ingest import ingest
from stages.ingest.params import IngestParams


def main() -> None:
    """Read what the launcher gave, ingest."""
    ingest(load_params(IngestParams).ingest, raw=Path("data/raw"), cache=read_runtime().cache_dir)


if __name__ == "__main__":
    run_main(main)
