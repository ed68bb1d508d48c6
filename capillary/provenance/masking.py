"""Secrets out of texts that leave this machine: a diff, params.yaml, dvc.lock."""

import re
from collections.abc import Iterable

from capillary.secret_names import LOGIN

MASK = b"***"
SHORTEST = 6  # a shorter value is found in innocent text
SHORTEST_LINE = 20  # of a secret with several; a shorter one is found in innocent text, such as `}`
_LOGIN = re.compile(LOGIN.encode())
# a private key in PEM form, as lines (of a diff: each after a sign) or with the \n of a string in JSON
_KEY = re.compile(rb"(-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----)((?:\\[nr]|\n[-+ ]|[A-Za-z0-9+/=\s])+)")
_KEY_PART = re.compile(rb"(\n[-+ ]?[ \t]*|\\[nr])?[A-Za-z0-9+/=]{8,}")
# a diff has a sign before each line, YAML may have indented it
_LINE_BREAK = rb"(\r?\n[-+ ]?[ \t]*)"


def mask(text: bytes, secrets: Iterable[str]) -> bytes:
    """`text` with *** for each value in `secrets`, for each login in a URL and for what private keys consist of.

    A secret with several lines, such as a key in PEM form, keeps its line breaks, so that a diff stays one.
    """
    for secret in sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True):
        value = secret.encode("utf-8", "surrogateescape")
        lines = value.strip().splitlines()
        text = _mask_lines(text, lines) if len(lines) > 1 else text.replace(value, MASK)
    text = _KEY.sub(lambda key: key[1] + _KEY_PART.sub(lambda part: (part[1] or b"") + MASK, key[2]), text)
    return _LOGIN.sub(b"://***@", text)


def _mask_lines(text: bytes, lines: list[bytes]) -> bytes:
    """`text` without all of `lines` in a row, and without each long one, of which a diff may have a few."""
    bare = [line.strip() for line in lines]
    whole = _LINE_BREAK.join(re.escape(line) for line in bare)
    text = re.sub(whole, lambda found: MASK + b"".join(ending + MASK for ending in found.groups()), text)
    for line in bare:
        if len(line) >= SHORTEST_LINE:
            text = text.replace(line, MASK)
    return text
