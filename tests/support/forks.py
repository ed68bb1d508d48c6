"""A fork of the test's process as if it had never seen this repository.

A new process would import torch and MLflow, which takes ten seconds.
"""

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.parts import REPOSITORY

Answer = TypeVar("Answer")
OURS = {"stages", "capillary", "serving", "tests"}


def without_this_repository(folder: Path, work: Callable[[], Answer]) -> Answer:
    """What `work` returns in a fork that works in `folder`, where nothing of this repository is imported or found."""
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            _forget()
            answer = pickle.dumps((work(), None))
        except BaseException:  # noqa: BLE001 - whatever it is, the test is to say it
            answer = pickle.dumps((None, traceback.format_exc()))
        try:
            (folder / "answer.pkl").write_bytes(answer)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found, error = pickle.loads((folder / "answer.pkl").read_bytes())
    assert error is None, error
    answer_of_work: Answer = found
    return answer_of_work


def _forget() -> None:
    sys.path[:] = [each for each in sys.path if each and Path(each).resolve() != REPOSITORY]
    sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in getattr(each, "__module__", "")]
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
