"""dvc.lock, checked before anybody plans with it: DVC takes one that was cut at the end of a line for a shorter one.

It would then run again what had long finished, and write the rest of the record again.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from capillary.yaml_file import read_yaml
from stages.common.errors import DamagedError

LOCK_FILE = "dvc.lock"
_REMEDY = (
    "restore it (`git restore dvc.lock`, or a copy of yours). Without one: `mv dvc.lock dvc.lock.damaged`, then "
    "repeat: DVC takes what its run cache still has and runs the rest"
)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ENTRY = re.compile(r" {2}\S")  # the first line of a stage's record
_HEADS = {"path", "hash"}  # of a file's record, before what it is known by
_PAUSES_S = (0.1, 0.2, 0.4)
Fault = tuple[str, object]


def refuse_damaged_lock(root: Path) -> None:
    """Raise DamagedError when dvc.lock of the workspace `root` is there and not whole. Changes nothing.

    DVC empties the file before it writes it: a fault counts only when it is still there a moment later.
    """
    for pause_s in _PAUSES_S:
        if (fault := _find_fault(root)) is None:
            return
        time.sleep(pause_s)
    if fault := _find_fault(root):
        what, value = fault
        raise DamagedError(f"dvc.lock {what}", file=root / LOCK_FILE, value=value, remedy=_REMEDY)


def read_lock(root: Path) -> bytes:
    """dvc.lock of `root` as it is between two writes of DVC; empty if there is none that is whole."""
    file = root / LOCK_FILE
    for pause_s in (*_PAUSES_S, 0.0):
        content = file.read_bytes() if file.is_file() else b""
        if _find_fault(root) is None and (file.read_bytes() if file.is_file() else b"") == content:
            return content
        time.sleep(pause_s)
    return b""


def recorded_stages(lock: bytes) -> dict[str, Any]:
    """The records in the content of a dvc.lock; none if it is damaged."""
    return _stages(lock.decode("utf-8", "replace"))


def forgotten(root: Path) -> list[str]:
    """Stages that the committed dvc.lock records and the dvc.lock in `root`, which can be read, does not."""
    here = (root / LOCK_FILE).read_text() if (root / LOCK_FILE).is_file() else ""
    now = _stages(here)
    return [address for address in _stages(_committed(root)) if address not in now]


def _stages(text: str) -> dict[str, Any]:
    """The records in `text`; none if it is damaged, which a commit may be."""
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - as above
    except yaml.YAMLError:
        return {}
    return (tree.get("stages") or {}) if isinstance(tree, dict) else {}


def _find_fault(root: Path) -> Fault | None:
    """What is wrong with dvc.lock, and where."""
    try:
        text = (root / LOCK_FILE).read_bytes().decode()
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - the safe loader, in C where it is built
    except FileNotFoundError:
        return None  # nothing has run yet
    except UnicodeDecodeError as error:
        return "is not UTF-8 text", f"its byte {error.start}"
    except yaml.YAMLError as error:
        return "is not YAML", error
    return _fault(tree) or _cut(root, text, tree)


def _fault(tree: Any) -> Fault | None:
    """What is wrong with the content of dvc.lock, and where; None if it is as DVC writes it."""
    if tree is None:
        return "is empty", None
    if isinstance(tree, dict) and "datasets" in tree:
        tree.setdefault("stages", {})  # `dvc ds` has written it, and nothing has run
    if not isinstance(tree, dict) or "schema" not in tree or not isinstance(tree.get("stages"), dict):
        return "is not a record of stages, as DVC writes it", _brief(tree)
    for address, entry in tree["stages"].items():
        if not isinstance(entry, dict) or "cmd" not in entry:
            return f"has no command for {address}", _brief(entry)
        for record in _files(entry):
            if not isinstance(record, dict) or "path" not in record or not record.keys() - _HEADS:
                return f"has a record of {address} that does not name its files", _brief(record)
    return None


def _files(entry: dict[str, Any]) -> Iterator[Any]:
    for part in ("deps", "outs"):
        listed = entry.get(part) or []
        yield from listed if isinstance(listed, list) else [listed]


def _cut(root: Path, text: str, tree: Any) -> Fault | None:
    """Where a file that can be read ends too early: in a line, or within a stage that the commit has whole."""
    last = text.splitlines()[-1]
    if not text.endswith("\n"):
        return "ends in the middle of a line", last.strip()
    if (address := next(reversed(tree["stages"]), None)) and _lacks_outs(root, address, tree["stages"][address]):
        return f"ends within the record of {address}: it names none of this stage's outs", last.strip()
    committed = _committed(root)
    if committed.startswith(text) and len(committed) > len(text):
        following = committed[len(text) :].splitlines()[0]
        if following.startswith(" ") and not _ENTRY.match(following):  # else a stage less: so it looks in mid-run
            return "ends within the record of a stage, and the committed file has more", last.strip()
    return None


def _lacks_outs(root: Path, address: str, entry: dict[str, Any]) -> bool:
    """Whether the record `entry` names no out, though dvc.yaml declares some for that stage."""
    if "outs" in entry or not (root / "dvc.yaml").is_file():
        return False
    declared = (read_yaml(root / "dvc.yaml").get("stages") or {}).get(address.split("@")[0]) or {}
    return any((declared.get("do") or declared).get(kind) for kind in ("outs", "metrics", "plots"))


def _committed(root: Path) -> str:
    """The committed dvc.lock; empty without Git, or if none is committed."""
    if shutil.which("git") is None:
        return ""
    argv = ["git", "show", f"HEAD:./{LOCK_FILE}"]
    done = subprocess.run(argv, cwd=root, check=False, capture_output=True)
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]} …"
