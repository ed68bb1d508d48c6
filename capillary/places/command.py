"""The command lines of `capillary jobs` and `capillary place`."""

import enum
from pathlib import Path
from typing import Annotated

import typer

place = typer.Typer(help="Prepare a Ray cluster on Kubernetes (docs/ray.md).", no_args_is_help=True)


@place.callback()
def _place() -> None:
    """Prepare a Ray cluster on Kubernetes (docs/ray.md)."""


class RayObject(enum.StrEnum):
    """What `capillary place manifest` renders (capillary/places/ray/manifest.py)."""

    CLUSTER = "cluster"
    JOB = "job"


@place.command()
def manifest(
    kind: Annotated[RayObject, typer.Argument(help="A RayCluster, or a RayJob with its own cluster.")],
    config: Annotated[Path, typer.Option(help="Experiment file that a job runs.")] = Path(
        "configs/experiments/default.yaml"
    ),
) -> None:
    """Print the Kubernetes object that KubeRay needs, from configs/ray.yaml (docs/ray.md)."""
    from capillary.places.ray.manifest import Kind, render

    typer.echo(render(Path.cwd(), Kind(kind), config), nl=False)


jobs = typer.Typer(
    help="Show, follow and cancel this project's jobs on a cluster (docs/cluster.md).", invoke_without_command=True
)


@jobs.callback()
def _jobs(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for scripts.")] = False,
) -> None:
    """Show this project's jobs on a cluster: state, node, epoch, waiting time and retries."""
    if context.invoked_subcommand is None:
        from capillary.places.jobs import show_jobs

        show_jobs(Path.cwd(), as_json=as_json)


@jobs.command("logs")
def jobs_logs(
    job: Annotated[str, typer.Argument(help="Cell or job number.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job ends.")] = False,
) -> None:
    """Print the log of a job."""
    from capillary.places.jobs import show_log

    show_log(Path.cwd(), job, follow=follow)


@jobs.command("cancel")
def jobs_cancel(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Cells or job numbers.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Cancel every job of this project.")] = False,
) -> None:
    """Ask jobs to checkpoint and end; rerun the experiment to resume them."""
    if bool(names) == every:
        raise typer.BadParameter("Name jobs, or give --all.")
    from capillary.places.jobs import cancel_jobs

    cancel_jobs(Path.cwd(), names or [], every=every)
