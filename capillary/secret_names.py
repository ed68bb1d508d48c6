"""What a project's secrets are called, in variables and in its files, and what they are."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 1 << 20
# options of DVC's remotes and databases that are secrets (dvc/config_schema.py)
DVC_SECRETS = {
    *("password", "passphrase", "token", "client_secret", "connection_string"),
    *("access_key_id", "secret_access_key", "session_token", "sse_customer_key"),
    *("sas_token", "account_key", "oss_key_id", "oss_key_secret", "gdrive_client_secret"),
}
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CONNECTION_STRING|(ACCESS|ACCOUNT|API|PRIVATE|STORAGE|ENCRYPTION)_KEY"
    r"|(^|_)(PASS|PAT)$"  # a personal access token; PATH is none
)
# of a variable that names a file with a secret, such as the key of a service account
_FILE_NAME = re.compile(r"CREDENTIALS|CLIENT_CERT|KEY_?FILE|(TOKEN|PASSWORD|SECRET)_FILE")
# a login in a URL: user and password, which may hold a slash, or a token alone; `git@host` and `me@host` are none
LOGIN = (
    r"://(?:[^/\s:@\"']*:[^/\s\"']+@"
    r"|[^/\s:@\[\"']*:(?!\d*(?:[/?#\s\"']|$))[^\s@\"'<>,]+@(?:[^/\s\"']*@)?"
    r"|[A-Za-z0-9_-]{20,}@)"
)
# editors of Windows put a byte order mark before the first line
SETTING = re.compile(r"^\ufeff?[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*=[ \t]*(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """A file of the project that may hold secrets. `name` is relative to the project's folder."""

    name: str
    is_secret: Callable[[str], bool]  # by the name of a setting


FILES = (
    SecretFile(name=".env", is_secret=lambda name: _SECRET_NAME.search(name.upper()) is not None),
    SecretFile(name=".dvc/config.local", is_secret=lambda name: name.lower() in DVC_SECRETS),
)


def secret_values(root: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """The secrets of the project `root`: what `variables`, the files that they name and its own files hold under a
    secret's name.
    """
    yield from (value for name, value in variables.items() if _SECRET_NAME.search(name.upper()))
    named = (root / value for name, value in variables.items() if _FILE_NAME.search(name.upper()))
    yield from filter(None, map(_text_of, named))
    for file in FILES:
        path = root / file.name
        text = path.read_text("utf-8", "replace")[:MOST_BYTES] if path.is_file() else ""
        for value in (value for name, value in SETTING.findall(text) if file.is_secret(name)):
            # with what follows a #, and without: it may be a note or part of the secret
            yield from (each.strip().strip("'\"") for each in (value, value.partition("#")[0]))


def _text_of(file: Path) -> str:
    """The beginning of a file; empty for what is none, or none of this user's."""
    try:
        return file.read_text("utf-8", "surrogateescape")[:MOST_BYTES].strip() if file.is_file() else ""
    except (OSError, ValueError):
        return ""
