"""The files that a remote is written to: .dvc/config, .dvc/config.local and .env, each whole or as it was."""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path

from configobj import ConfigObj, ConfigObjError

from capillary.remote.plans import RemotePlan
from capillary.secret_files import PRIVATE
from stages.common.errors import UsageError

PUBLIC, SECRET, VARIABLES = ".dvc/config", ".dvc/config.local", ".env"
_PLAIN_VALUE = re.compile(r"[\w@%+=:,./-]*")


def write_remote(plan: RemotePlan, root: Path) -> list[str]:
    """Write what `plan` says; the names of the files that changed. On a failure all of them are as they were."""
    contents = contents_of(plan, root)
    former = {name: _read(root / name) for name in contents}
    changed = [name for name, content in contents.items() if content.strip() != former[name].strip()]
    done: list[str] = []
    try:
        for name in changed:
            done.append(name)
            _replace(root / name, contents[name], private=name != PUBLIC)
    except BaseException:
        for name in done:
            _put_back(root / name, former[name], private=name != PUBLIC)
        raise
    return changed


def write_variables(root: Path, values: Mapping[str, str]) -> None:
    """Set `values` in the .env of `root`, and leave the rest of it as it is."""
    file = root / VARIABLES
    _replace(file, _variables(_read(file), values), private=True)


def contents_of(plan: RemotePlan, root: Path) -> dict[str, bytes]:
    """File → what it will hold, the secret ones first."""
    contents = {SECRET: _config(root / SECRET, plan.name, plan.secret, default=False)}
    contents[PUBLIC] = _config(root / PUBLIC, plan.name, plan.public, default=plan.default)
    if plan.variables:
        contents[VARIABLES] = _variables(_read(root / VARIABLES), plan.variables)
    return contents


def _config(file: Path, remote: str, options: Mapping[str, str], *, default: bool) -> bytes:
    """The file with the remote's section in place of its previous one, and everything else as it stands, notes too."""
    try:
        config = ConfigObj(io.BytesIO(_read(file)), encoding="utf-8", default_encoding="utf-8")
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise UsageError(f"DVC's configuration cannot be read: {error}", file=file, remedy="correct it") from error
    section = f'remote "{remote}"'
    config.pop(section, None)
    if name := next((name for name, value in options.items() if "%(" in value), None):
        raise UsageError(
            f"the value of {name} cannot be written to {file.name}: DVC takes %( in it for a reference",
            file=file,
            remedy="make another key or token, without %(",
        )
    if options:
        config[section] = dict(options)
    if default:
        config.setdefault("core", {})["remote"] = remote
    stream = io.BytesIO()
    config.write(stream)
    return stream.getvalue()


def _variables(former: bytes, values: Mapping[str, str]) -> bytes:
    """.env with each of `values` set once, on the line that set it before."""
    lines = former.decode().splitlines()
    for name, value in values.items():
        setting = re.compile(rf"^\s*(export\s+)?{re.escape(name)}\s*=")
        own = [at for at, line in enumerate(lines) if setting.match(line)]
        line = f"{name}={_quoted(name, value)}"
        if own:
            lines[own[0]] = line
            lines = [each for at, each in enumerate(lines) if at not in own[1:]]
        else:
            lines.append(line)
    return ("\n".join(lines) + "\n").encode()


def _quoted(name: str, value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    if any(sign in value for sign in ("'", "\n", "\r", "\\", "${")):
        raise UsageError(
            f"the value of {name} cannot be written to {VARIABLES}: it holds a quote, a backslash, a line break or ${{",
            remedy="copy the token again, without quotes around it",
        )
    return f"'{value}'"


def _read(file: Path) -> bytes:
    if file.is_symlink():
        raise UsageError(
            f"{file.name} is a link and was not changed",
            file=file,
            remedy="replace the link with a regular file, then repeat",
        )
    return file.read_bytes() if file.exists() else b""


def _replace(file: Path, content: bytes, *, private: bool) -> None:
    """Never readable for others on the way, where it is to be private."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    mode = PRIVATE if private else (file.stat().st_mode & 0o777 if file.exists() else 0o644)
    temporary.unlink(missing_ok=True)
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _put_back(file: Path, former: bytes, *, private: bool) -> None:
    if former:
        _replace(file, former, private=private)
    else:
        file.unlink(missing_ok=True)
