"""Secrets out of texts that leave this machine: a diff, params.yaml, dvc.lock."""

import re
from collections.abc import Iterable

MASK = b"***"
SHORTEST = 6  # a shorter value is found in innocent text
# a login of two parts; `git@host` is not a secret
_LOGIN = re.compile(rb"://[^/\s:@\"']*:[^/\s@\"']+@")


def mask(text: bytes, secrets: Iterable[str]) -> bytes:
    """`text` with *** for each value in `secrets` and for each login in a URL."""
    for secret in sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True):
        text = text.replace(secret.encode(), MASK)
    return _LOGIN.sub(b"://***@", text)
