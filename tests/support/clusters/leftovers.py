"""What a place still has of a project whose runs are over, asked of the engine, the queue or the cluster itself."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.clusters.ray_cluster import shared_nodes


def containers(engine: str, project: Path) -> list[str]:
    """Containers of stages, in whatever state."""
    label = f"label=capillary.project={project}"
    return _lines(engine, "ps", "--all", "--filter", label, "--format", "{{.Names}} {{.Status}}")


def jobs(project: Path) -> list[str]:
    """Jobs that Slurm has in its queue or runs; it needs a moment to end one whose program has ended."""
    rows = (line.split(maxsplit=2) for line in _lines("squeue", "--me", "--noheader", "--format=%i %T %Z"))
    return [f"{job} {state}" for job, state, folder in rows if Path(folder).is_relative_to(project)]


def tasks(_project: Path) -> list[str]:
    """Ray names no tasks without its dashboard, but says what it has given away."""
    used = shared_nodes().used_cpus()
    return [f"{used} CPUs of the Ray cluster"] if used else []


KEPT: dict[str, Callable[[Path], list[str]]] = {
    "process": lambda _: [],
    "docker": lambda project: containers("docker", project),
    "podman": lambda project: containers("podman", project),
    "slurm": jobs,
    "ray": tasks,
    "docker on slurm": lambda project: [*containers("docker", project), *jobs(project)],
    "docker on ray": lambda project: [*containers("docker", project), *tasks(project)],
}


def _lines(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
