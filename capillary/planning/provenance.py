"""The provenance of a run in its plan: the value in the order, the files as one more thing that the stage can read."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from capillary.planning.plan import CODE_FOLDER, Dep, StagePlan
from capillary.provenance.collect import collect, write_files
from capillary.secret_names import secret_values
from capillary.settings import Settings

# what a stage calls the folder; no dep of dvc.yaml can have this name
HANDED = Path(".capillary", "provenance")


def with_provenance(plan: StagePlan, environment_id: Sequence[str], settings: Settings) -> StagePlan:
    """`plan` with where it comes from; a stage that tracks no run needs none."""
    if plan.access.network != "tracking":
        return plan
    data = {name: value for name, value in plan.dep_hashes.items() if Path(name).parts[0] != CODE_FOLDER}
    secrets = secret_values(plan.repository, settings.variables)
    found = collect(plan.root, data, environment_id, secrets)
    folder = folder_of(plan)
    shutil.rmtree(folder, ignore_errors=True)  # of a launcher that was killed
    write_files(found.files, folder)
    value = dataclasses.replace(found.value, folder=HANDED)
    order = dataclasses.replace(plan.order, provenance=value)
    handed = Dep(name=str(HANDED), host=folder, is_carried=True)  # a job outlives a head that is ended
    return dataclasses.replace(plan, order=order, deps=(*plan.deps, handed))


def folder_of(plan: StagePlan) -> Path:
    """Where the files are on this machine while the stage runs. Two runs of one fingerprint never run at once."""
    return (plan.repository / HANDED / plan.state_dir.name).resolve()


def forget(plan: StagePlan) -> None:
    """Remove the files: the run has them, or there is none."""
    if plan.order.provenance is not None:
        shutil.rmtree(folder_of(plan), ignore_errors=True)
