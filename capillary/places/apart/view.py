"""What a node without a shared disk has told of its job, for whoever is not its head: no folder of a job is changed."""

import itertools
from pathlib import Path

from capillary.dvc.remote import Remote
from capillary.places.apart.place import box_of
from capillary.places.job import LOG_FILE
from capillary.places.outcome import ATTEMPTS, ENDED_FILE


def fill(project: Path, folder: Path, view: Path) -> None:
    """Copy attempts, log and ended.json of the job in `folder` from its mailbox into the folder `view`.

    Raises OSError, DvcException or CapillaryError when the remote does not answer.
    """
    remote, box = Remote(project), box_of(folder)
    ended = remote.read(box, ENDED_FILE)  # first: what comes later is whole then
    (view / ATTEMPTS).mkdir(exist_ok=True)
    logs = []
    for number in itertools.count(1):
        taken = remote.read(box, f"{ATTEMPTS}/{number}.json")
        if taken is None:
            break
        (view / ATTEMPTS / f"{number}.json").write_bytes(taken)
        logs.append(remote.read(box, f"{LOG_FILE}-{number}") or b"")
    if logs:
        (view / LOG_FILE).write_bytes(b"".join(logs))
    if ended is not None:
        (view / ENDED_FILE).write_bytes(ended)
