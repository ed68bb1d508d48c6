"""The command line. Each command imports what it needs when it runs, so that `capillary --help` answers at once."""

import enum
import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer

from capillary.cache.command import cache
from capillary.dataset.command import dataset
from capillary.doctor.command import doctor
from capillary.export.command import export
from capillary.message_options import add_message_options, with_variables
from capillary.models.command import add_commands
from capillary.places.command import jobs, place
from capillary.remote.command import remote
from capillary.weights.command import weights

app = typer.Typer(
    name="capillary",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, group in (("cache", cache), ("dataset", dataset), ("export", export), ("jobs", jobs), ("place", place)):
    app.add_typer(group, name=name)
app.add_typer(remote, name="remote")
app.add_typer(weights, name="weights")
app.command()(doctor)


def _show_version(is_asked: bool) -> None:
    if not is_asked:
        return
    from capillary.provenance.collect import tool_versions

    versions = tool_versions(Path(__file__).resolve().parent.parent)
    typer.echo(f"capillary {versions['capillary']}, DVC {versions['dvc']}, Python {platform.python_version()}")
    raise typer.Exit


@app.callback()
@with_variables
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show versions and exit.")
    ] = False,
) -> None:
    """Turn labelled 3D stacks of blood vessels into a registered, reproducible segmentation model."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def stage(context: typer.Context, name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Run one stage as declared in dvc.yaml. DVC calls this command; you run dvc repro."""
    from capillary.launcher.command import run_command

    run_command([name, *context.args])


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the project and of its model in MLflow.", show_default=False)],
    at: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to create (default: ./NAME).", show_default=False)
    ] = None,
) -> None:
    """Start your own pipeline from the smallest sample (docs/own-pipeline.md)."""
    from capillary.new_project.create import new as make

    make(name, at, os.environ)


@app.command()
def check() -> None:
    """Check params.yaml, the experiment files and dvc.lock, without running anything."""
    from capillary.experiments.check import check_project
    from capillary.integrity.lock_file import refuse_damaged_lock

    check_project(Path.cwd())
    refuse_damaged_lock(Path.cwd())


@app.command()
def preflight(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Fail, rather than warn, if there is no GPU.")
    ] = False,
) -> None:
    """Check that a run can finish before starting it. Exit code 9 if a critical check fails (docs/preflight.md)."""
    from capillary import preflight as checks
    from capillary.settings import read_settings
    from stages.common.errors import ExitCode
    from stages.common.program.console import answer_is_for_program

    if as_json:
        answer_is_for_program()
    report = checks.run_preflight(Path.cwd(), read_settings(Path.cwd()), require_gpu=require_gpu)
    if as_json:
        typer.echo(checks.as_json(report))
    else:
        checks.show(report)
    sys.exit(ExitCode.PREFLIGHT if report.failed else 0)


@app.command()
def metrics() -> None:
    """Show metrics/metrics.json as a table with intervals."""
    from capillary.metrics_table import show_metrics

    show_metrics(Path())


@app.command()
def evaluate(
    complete: Annotated[
        bool, typer.Option("--complete", help="Measure the trained cells although others are missing.")
    ] = False,
) -> None:
    """Measure the trained cells and write metrics/partial/; dvc repro evaluate measures all cells."""
    if not complete:
        raise typer.BadParameter("Give --complete, or run dvc repro evaluate, which measures all cells.")
    from capillary.lifetimes.stop import listening
    from capillary.partial_evaluation import evaluate_complete

    with listening() as stop:
        sys.exit(evaluate_complete(Path.cwd(), stop))


def _below_one(threshold: float | None) -> float | None:
    if threshold is not None and threshold >= 1:
        raise typer.BadParameter(f"{threshold} is not below 1: no probability is above it.")
    return threshold


StackPaths = Annotated[
    list[str],
    typer.Argument(
        metavar="IN... OUT",
        help="A stack and its mask; or stacks, quoted patterns, folders or tables (*.csv), then an output folder.",
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=_below_one,
        help="Probability above which a voxel is vessel (default: evaluation.threshold).",
        show_default=False,
    ),
]


@app.command()
def predict(
    paths: StackPaths,
    loss: Annotated[
        str | None, typer.Option(help="Use the models in models/ with this loss.", show_default=False)
    ] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Use only this fold; may be repeated (default: all).", show_default=False)
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Use only this seed; may be repeated (default: all).", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Registered model: NAME, NAME@ALIAS or NAME/VERSION.", show_default=False)
    ] = None,
    threshold: Threshold = None,
    spacing_um: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Spacing in µm; counts more than the files' own.", show_default=False),
    ] = None,
    min_component_um3: Annotated[
        float | None,
        typer.Option(min=0, help="Remove smaller parts (default: as params.yaml says).", show_default=False),
    ] = None,
    probability: Annotated[bool, typer.Option("--probability", help="Also write OUT_probability.")] = False,
    picture: Annotated[bool, typer.Option("--picture", help="Also write a picture, OUT.png.")] = False,
    suffix: Annotated[
        str | None,
        typer.Option(metavar=".nii.gz", help="Suffix of the masks in a folder (default: that of the stack)."),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(metavar="auto|Z,Y,X", help="Predict one huge stack by blocks, into OME-Zarr.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip stacks that are already done.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Segment stacks with the registered models, by default the mean over folds and seeds (docs/predict.md)."""
    from capillary.lifetimes.stop import listening
    from capillary.prediction.ask import make_request
    from capillary.prediction.run import run_prediction

    request = make_request(
        paths,
        Path.cwd(),
        suffix=suffix,
        blocks=blocks,
        spacing_um=spacing_um,
        probability=probability,
        picture=picture,
        model=model,
        loss=loss,
        folds=tuple(fold or ()),
        seeds=tuple(seed or ()),
        threshold=threshold,
        min_component_um3=min_component_um3,
        force=force,
        resume=resume,
    )
    with listening() as stop:
        sys.exit(run_prediction(request, Path.cwd(), stop))


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Port (default: SERVE_PORT, or 8080).", show_default=False)] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="NAME, NAME@ALIAS, NAME/VERSION, or models/ for the cards (default: CAPILLARY_SERVE_MODEL).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start an HTTP service with a web page that segments stacks (docs/serve.md). Ctrl-C ends it."""
    from capillary.serve import run_service

    run_service(Path.cwd(), port=port, model=model)


@app.command()
def profile(
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show this machine, the hardware profile chosen for it, and why."""
    from capillary.compute.show import show_profile
    from capillary.launcher.run import stage_hardware

    show_profile(Path.cwd(), stage_hardware, as_json=json)


@app.command()
def sync() -> None:
    """Send the runs waiting on this disk to the tracking server (docs/tracking.md)."""
    from capillary.lifetimes.stop import listening
    from capillary.models.sync import run_sync

    with listening() as stop:
        sys.exit(run_sync(Path.cwd(), stop))


@app.command()
def build(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages to build (default: all).", show_default=False)
    ] = None,
) -> None:
    """Build the stages' environment images ahead of time."""
    from capillary.executors.container.maintenance import build_images
    from capillary.lifetimes.stop import listening

    with listening() as stop:
        build_images(Path.cwd(), stages or [], stop)
        sys.exit(stop.exit_code)


@app.command()
def ps() -> None:
    """Show the containers of this project's stages."""
    from capillary.executors.container.maintenance import show_siblings

    show_siblings(Path.cwd())


@app.command()
def clean(
    state: Annotated[bool, typer.Option("--state", help="Also remove checkpoints of stopped runs.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Also remove images whose files have changed.")] = False,
) -> None:
    """Remove what killed runs left behind: containers, temporary folders, and folders of finished jobs."""
    from capillary.executors.container.maintenance import clean as clean_project
    from capillary.places.jobs import clean_jobs, live_states

    clean_jobs(Path.cwd())
    clean_project(Path.cwd(), state=state, images=images, used=live_states(Path.cwd()))


@app.command()
def report(
    name: Annotated[
        str | None, typer.Option(help="Folder in reports/ (default: name of the DVC experiment).", show_default=False)
    ] = None,
) -> None:
    """Write reports/NAME/report.html and report.md: the results in this workspace on one page."""
    from capillary.lifetimes.stop import listening
    from capillary.report.write import report_workspace

    with listening() as stop:
        report_workspace(Path.cwd(), name, stop)


@app.command()
def experiment(
    config: Annotated[Path, typer.Option(help="Experiment file.")] = Path("configs/experiments/default.yaml"),
    debug: Annotated[
        bool, typer.Option("--debug", help="Rehearse with the limits of the file's debug section.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from checkpoints, whatever the file says.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show the plan, but run nothing.")
    ] = False,
) -> None:
    """Run an experiment file from preflight to report; docs/user-guide.md explains it key by key."""
    from capillary.experiments.run import Options, run_experiment

    sys.exit(run_experiment(config, Path.cwd(), Options(debug=debug, resume=resume, dry_run=dry_run)))


@app.command()
def reproduce(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="Network or training.", show_default=False),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Run the commit's code without asking.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder in which it was trained.")] = False,
) -> None:
    """Train a registered model again from its recorded provenance, and compare (docs/reproduce.md)."""
    from capillary.lifetimes.stop import listening
    from capillary.reproduce.run import Reproduction, run_reproduction

    asked = Reproduction(reference=model, agreed=yes, keep=keep)
    with listening() as stop:
        sys.exit(run_reproduction(asked, Path.cwd(), stop, lambda text: sys.stdin.isatty() and typer.confirm(text)))


class Profile(enum.StrEnum):
    """Which services `capillary up` starts (capillary/experiments/services.py)."""

    DEV = "dev"
    TEAM = "team"


@app.command()
def up(
    profile: Annotated[Profile, typer.Option(help="dev: MLflow; team: MLflow, PostgreSQL, an S3 store.")] = Profile.DEV,
) -> None:
    """Start the services on this machine and wait until they are healthy (docs/compose.md)."""
    from capillary.experiments import services

    services.up(Path.cwd(), profile.value)


app.command(name="dev", hidden=True, help="The same as `capillary up`.")(up)


@app.command()
def down() -> None:
    """Stop the services and keep their data."""
    from capillary.experiments import services

    services.down(Path.cwd())


@app.command()
def logs(
    names: Annotated[
        list[str] | None, typer.Argument(help="Services, such as mlflow (default: all).", show_default=False)
    ] = None,
) -> None:
    """Follow the services' logs; Ctrl-C ends it."""
    from capillary.experiments import services

    sys.exit(services.logs(Path.cwd(), names or []))


add_commands(app)
add_message_options(app)
