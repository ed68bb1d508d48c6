"""python -m stages.ingest: the stacks at ingest.source → data/raw."""

from pathlib import Path

from stages.common.params import load_params
from stages.common.runtime import read_hub_login, read_runtime
from stages.common.stage_main import run_stage
from stages.ingest.ingest import ingest
from stages.ingest.params import IngestParams
from stages.ingest.sources.source import Hub


def main() -> None:
    """Read what the launcher gave, ingest."""
    runtime = read_runtime()
    hub = Hub(login=read_hub_login(), downloads=runtime.downloads)
    ingest(load_params(IngestParams).ingest, raw=Path("data/raw"), cache=runtime.cache_dir, hub=hub)


if __name__ == "__main__":
    run_stage(main)
