"""Secrets out of texts that leave this machine: a diff, params.yaml, dvc.lock."""

import re
from collections.abc import Iterable

from capillary.secret_names import LOGIN

MASK = b"***"
SHORTEST = 6  # a shorter value is found in innocent text
_LOGIN = re.compile(LOGIN.encode())


def mask(text: bytes, secrets: Iterable[str]) -> bytes:
    """`text` with *** for each value in `secrets` and for each login in a URL."""
    for secret in sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True):
        text = text.replace(secret.encode("utf-8", "surrogateescape"), MASK)
    return _LOGIN.sub(b"://***@", text)
