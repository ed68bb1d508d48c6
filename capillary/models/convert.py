"""`capillary models convert`: pickled models of earlier versions become versions in today's form.

Three steps, so that the one that unpickles has no network and no credentials: fetch, convert, register.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from capillary.executors.choose import Executor, choose_executor
from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, run_step
from capillary.settings import Settings, read_settings
from stages.common.atomic import atomic_write
from stages.common.errors import UsageError
from stages.common.program.messages import get_logger
from stages.common.requests.conversion import CARDS, CONVERTED, FETCHED
from stages.common.text import json_value

log = get_logger(__name__)

MODELS = "models"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What to convert: `references` to versions, or every version if there are none. `agreed`: nobody is asked."""

    references: tuple[str, ...]
    agreed: bool


def run_conversion(conversion: Conversion, root: Path, stop: Stop, ask: Callable[[str], bool]) -> int:
    """Convert, and bring the cards in models/ up to date; returns the exit code."""
    settings = read_settings(root)
    executor = choose_executor(settings)
    if not conversion.agreed and not ask(consent(in_container=executor is not process)):
        raise UsageError(
            "nothing was converted",
            remedy="answer yes, give --yes, or train the models again",
        )
    (root / ".capillary").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="convert-", dir=root / ".capillary") as name:
        folder = Path(name)
        code = _run(_steps(conversion, root), folder, settings, executor, stop)
        if (folder / CARDS).is_dir():
            _update_cards(root, sorted((folder / CARDS).glob("*.json")))
        return code


def consent(*, in_container: bool) -> str:
    """What somebody agrees to."""
    place = (
        "in a container without a network"
        if in_container
        else "in a plain process on this machine (there is not a Docker daemon, or CAPILLARY_EXECUTOR=process)"
    )
    return (
        f"The pickled models are fetched from the registry and unpickled {place}, by a reader that only admits "
        "classes of torch and MONAI. Convert them?"
    )


def _steps(conversion: Conversion, root: Path) -> tuple[Step, ...]:
    return (
        Step(stage="models", argv=("fetch", *conversion.references), takes=None, makes=FETCHED, root=root),
        Step(stage="convert", argv=(), takes=FETCHED, makes=CONVERTED, root=root),
        Step(stage="models", argv=("register",), takes=CONVERTED, makes=CARDS, root=root),
    )


def _run(steps: Sequence[Step], folder: Path, settings: Settings, executor: Executor, stop: Stop) -> int:
    """Run `steps` until one fails or leaves nothing for the next."""
    for step in steps:
        if code := run_step(step, folder, settings, executor, stop):
            return code
        assert step.makes is not None
        if not any((folder / step.makes).iterdir()):
            log.warning("nothing was converted")
            return 0
    return 0


def _update_cards(root: Path, files: Sequence[Path]) -> None:
    """Replace the cards in models/ that name a converted version."""
    new: dict[tuple[Any, Any], Any] = {}
    for file in files:
        made = json.loads(file.read_text())
        new[made["name"], made["converted_from"]] = made
    for card in sorted((root / MODELS).rglob("fold_*.json")):
        named = _named_by(card)
        if named in new:
            with atomic_write(card) as stream:
                stream.write(json.dumps(new[named]["card"], indent=2).encode() + b"\n")
            log.info(f"{card.relative_to(root)} is that of version {new[named]['version']} now")


def _named_by(card: Path) -> tuple[object, object] | None:
    """Name and version on `card`; None for one that is not a card."""
    try:
        data = json_value(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (data.get("model_name"), data.get("model_version")) if isinstance(data, dict) else None
