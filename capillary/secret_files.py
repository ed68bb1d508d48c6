"""The project's files that hold passwords: nobody but their owner should read them.

`.env` and `.dvc/config.local` are written by people and by `dvc remote modify --local`, with whatever mode the umask
gives. Those that hold a secret and belong to whoever runs capillary are made 600; of the others the user is told.
"""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from capillary.secret_names import FILES, LOGIN, MOST_BYTES, SETTING, SecretFile

PRIVATE = 0o600
OTHERS = 0o077
_LOGIN_IN_URL = re.compile(LOGIN)


def keep_private(environment: Mapping[str, str]) -> None:
    """Look after the files of the project in the working folder, and of the one that DVC names; says what it did."""
    places = dict.fromkeys((Path.cwd(), Path(environment.get("DVC_ROOT", Path.cwd()))))
    for root in places:
        if (root / "dvc.yaml").is_file():
            _say(root, [line for file in FILES for line in tighten(root, file)])


def tighten(root: Path, file: SecretFile) -> Iterator[str]:
    """Make `file` 600 if it holds a secret that others may read; what the user should know, a line at most."""
    path = root / file.name
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            yield from _about_link(path, file)
        return  # it is not there, or is none of this user's
    try:
        yield from _about_own(number, path, file)
    finally:
        os.close(number)


def _about_own(number: int, path: Path, file: SecretFile) -> Iterator[str]:
    """What `tighten` does with the file once it is open: nobody can put another one in its place."""
    status = os.fstat(number)
    if not _is_open_to_others(status) or not _holds_secret(
        os.read(number, MOST_BYTES).decode("utf-8", "replace"), file
    ):
        return
    if status.st_uid != os.geteuid():
        yield f"warning: others can read the secrets in {file.name}; its owner should run: chmod 600 {path}"
    elif _make_private(number):
        yield f"{file.name} holds secrets and others could read it: its mode is 600 now"
    else:
        yield f"warning: others can read the secrets in {file.name}, and its mode cannot be changed here"


def _about_link(path: Path, file: SecretFile) -> Iterator[str]:
    """A link may lead to what others share on purpose: its target is never changed."""
    try:
        status = path.stat()
        exposed = _is_open_to_others(status) and _holds_secret(path.read_text("utf-8", "replace")[:MOST_BYTES], file)
    except OSError:
        return  # it leads nowhere, or to what this user may not read
    if exposed:
        yield f"warning: others can read the secrets in {file.name}, a link; check the mode of {path.resolve()}"


def _is_open_to_others(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & OTHERS)


def _holds_secret(text: str, file: SecretFile) -> bool:
    settings = ((name, value.strip("'\"")) for name, value in SETTING.findall(text))
    return any(value and (file.is_secret(name) or _LOGIN_IN_URL.search(value)) for name, value in settings)


def _make_private(number: int) -> bool:
    """False if the file system is read-only, or knows no modes."""
    try:
        os.fchmod(number, PRIVATE)
    except OSError:
        return False
    return not os.fstat(number).st_mode & OTHERS


def _say(root: Path, lines: Iterable[str]) -> None:
    """On stderr, since stdout may be read by a program; a warning that stays true is said once in a run."""
    told = list(lines)
    if any(line.startswith("warning:") for line in told):
        from capillary.lifetimes.caller import first_in_run  # rarely needed, and its import takes time

        if not first_in_run(root, "secrets"):
            told = [line for line in told if not line.startswith("warning:")]
    for line in told:
        sys.stderr.write(f"{line}\n")
