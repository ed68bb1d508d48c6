"""`capillary export bioimageio`: what needs torch runs in evaluate's environment, and the folder appears whole."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from capillary.executors.choose import choose_executor
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, plan_step
from capillary.publishing.publish import publish_out
from capillary.settings import read_settings
from stages.common.errors import DataError, UsageError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

CARD, PACKAGE = "card.json", "package"  # as the stage knows them


@dataclass(frozen=True, kw_only=True)
class Export:
    """What to export: `model` is a reference to the registry, or a card's file."""

    model: str
    folder: Path
    authors: tuple[str, ...]
    license: str


def run_export(asked: Export, root: Path, stop: Stop) -> int:
    """Write the package; returns the exit code. Raises CapillaryError (usage) for a folder that holds something."""
    refuse_full(asked.folder)
    settings = read_settings(root)
    executor = choose_executor(settings)
    card = Path(asked.model)
    is_card = asked.model.endswith(".json")
    if is_card and not card.is_file():
        remedy = "correct its name, fetch it with dvc pull models, or name a registered model (capillary models)"
        raise DataError("the model card does not exist", file=card, remedy=remedy)
    argv = ("--card", CARD) if is_card else (asked.model,)
    step = Step(stage="bioimageio", argv=(*argv, *_options(asked, root)), takes=None, makes=PACKAGE, root=root)
    plan = plan_step(step, root, settings, executor, also={CARD: card} if is_card else None)
    code = executor.execute(plan, stop, lambda work: publish_out(work, PACKAGE, asked.folder.absolute()))
    if code == 0:
        log.info(f"wrote {asked.folder}; to check it: bioimageio test {asked.folder / 'rdf.yaml'}")
    return code


def refuse_full(folder: Path) -> None:
    """Nothing of the user's is replaced."""
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise UsageError(
            "the package needs a new folder, and this one exists",
            file=folder,
            remedy="name another folder, or remove this one",
        )


def _options(asked: Export, root: Path) -> Iterator[str]:
    for name in asked.authors or (_git_user(root),):
        yield f"--author={name}"
    if asked.license:
        yield f"--license={asked.license}"


def _git_user(root: Path) -> str:
    """Who would commit here; a package must name somebody."""
    done = subprocess.run(["git", "config", "user.name"], cwd=root, check=False, capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        raise UsageError(
            "the package needs an author, and Git has no user.name",
            remedy="give --author NAME",
        )
    return done.stdout.strip()
