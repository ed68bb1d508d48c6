"""Entrypoint of the release image: one experiment from preflight to report, in a container that may vanish afterwards.

    docker run -v DATA:/data:ro -v OUT:/artifacts -v RUNS:/mlruns IMAGE --config configs/experiments/smoke.yaml

The image holds code and configs. They are copied to a workspace below /artifacts, where DVC's cache and the checkpoints
are too, so the same mounts resume what an earlier container began. Stages run as plain processes: there is no daemon.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from entrypoint import refuse
from supervise import Supervisor, grace_of
from workspace import Places, prepare, publish

from stages.common.lifetimes.locks import take

INITS = ("docker-init", "tini", "catatonit")  # what engines start as process 1 when they are asked for an init
Run = Callable[[Sequence[str], Mapping[str, str], Path], int]


def main(argv: Sequence[str], places: Places, run: Run) -> int:
    """Prepare the workspace, run the experiment, copy its results to `places.artifacts`; the experiment's exit code."""
    config, flags = read_arguments(argv)
    require_writable(places)
    with alone(places.artifacts):
        prepare(places)
        file = experiment_file(places, config)
        try:
            return run(
                ["capillary", "experiment", "--config", str(file), *flags], environment(places), places.workspace
            )
        finally:
            # the paths that the experiment printed are those of its workspace
            copied = ", ".join(map(str, publish(places)))
            sys.stdout.write(f"results are in {copied}\n" if copied else "there are no results\n")
            sys.stdout.flush()


def read_arguments(argv: Sequence[str]) -> tuple[str, list[str]]:
    """(the experiment file, the flags that `capillary experiment` gets as they are)."""
    parser = argparse.ArgumentParser(prog="docker run … IMAGE", description="Run one experiment.")
    parser.add_argument("--config", required=True, help="a file of the image, or an absolute path of a mounted one")
    known, flags = parser.parse_known_args(argv)
    return known.config, flags


def require_writable(places: Places) -> None:
    """Refuse to start where results would be lost or cannot be written."""
    for folder, mount in ((places.artifacts, "OUT"), (places.runs, "RUNS")):
        if not os.access(folder, os.W_OK | os.X_OK):
            refuse(
                f"{folder} cannot be written by uid {os.getuid()}",
                f"chown {os.getuid()} {mount}, or start the container as its owner: --user UID:GID",
            )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """In the block no other container works in `folder`. The lock ends with its process, however that ends."""
    with take(folder / ".lock") or refuse(
        f"another container is using {folder}", "wait until it ends, or mount another folder"
    ):
        yield


def experiment_file(places: Places, config: str) -> Path:
    """The file to run: `config`, with /data as the source where something is mounted and the file names neither a
    folder of it nor an address such as s3://."""
    file: Path = places.workspace / config
    if not file.is_file():
        known = ", ".join(sorted(str(path.relative_to(places.code)) for path in places.configs()))
        refuse(f"there is no experiment file {config}", f"mount it and give its absolute path, or name one of: {known}")
    if not places.has_data:
        return file
    tree = read_tree(file)
    ingest = tree.setdefault("ingest", {})
    if isinstance(ingest, dict) and not is_meant(str(ingest.get("source", "")), places):
        ingest["source"] = str(places.data)
    made: Path = places.workspace / ".capillary" / "release" / file.name
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return made


def is_meant(source: str, places: Places) -> bool:
    """Whether the file's own source holds although something is mounted: it is an address, or below the mount."""
    return "://" in source or Path(source).is_relative_to(places.data)


def read_tree(file: Path) -> dict[str, Any]:
    """The sections of an experiment file; what is wrong within them, `capillary experiment` says."""
    try:
        tree: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        refuse(f"{file} cannot be read: {str(error).splitlines()[0]}", "correct the file")
    if not isinstance(tree, dict):
        refuse(f"{file} has no sections", "write `experiment:` and below it `name: …` in it")
    sections: dict[str, Any] = tree
    return sections


def environment(places: Places) -> dict[str, str]:
    """The container's variables, with what follows from its mounts unless the user says otherwise."""
    chosen = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{places.runs}/mlflow.db",
        "DVC_SITE_CACHE_DIR": str(places.workspace / ".dvc" / "tmp" / "site"),
    }
    given = {name: value for name, value in os.environ.items() if value}
    return {**chosen, **given, "CAPILLARY_EXECUTOR": "process"}


def supervised(argv: Sequence[str], variables: Mapping[str, str], folder: Path) -> int:
    """Run `argv` to its end and the end of what it left. SIGTERM gives stages their grace period to checkpoint."""
    os.chdir(folder)
    os.environ.update(variables)
    code: int = Supervisor(grace_of(variables)).run(list(argv))
    return code


def require_container() -> None:
    """Refuse to start elsewhere: what the experiment leaves behind is ended, which means every process that is seen."""
    first = Path("/proc/1/comm").read_text().strip()
    if os.getpid() != 1 and first not in INITS:
        refuse("this program is the entrypoint of a container", "build Dockerfile.release and run its image")


if __name__ == "__main__":
    require_container()
    sys.exit(main(sys.argv[1:], Places(), supervised))
