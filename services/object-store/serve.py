"""Entrypoint of the image object-store: make the buckets, then become `rclone serve s3`.

The keys come from the environment, and reach rclone in the environment: none is ever on a command line.
"""

import os
import sys
from pathlib import Path

BUCKETS = ("dvc", "mlflow")
DATA = Path("/data")
UNFIT = frozenset('",\n')  # what rclone's list of pairs of keys is written with
SHORTEST_SECRET = 8


def auth_key(key: str, secret: str) -> str:
    """The pair of keys as rclone reads it from RCLONE_AUTH_KEY; ends the program when it is unfit."""
    if not key or not secret:
        sys.exit(
            "error: the object store has no keys; "
            "remedy: set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in .env to values of your own"
        )
    if UNFIT & set(key + secret):
        sys.exit("error: the object store's keys hold a quote or comma; remedy: use letters and digits")
    if len(secret) < SHORTEST_SECRET:
        sys.exit(f"error: S3_SECRET_ACCESS_KEY is short; remedy: use {SHORTEST_SECRET} characters or more")
    return f'"{key},{secret}"'


def main() -> None:
    """Start the server in this process's place."""
    pair = auth_key(os.environ.pop("S3_ACCESS_KEY_ID", ""), os.environ.pop("S3_SECRET_ACCESS_KEY", ""))
    for bucket in BUCKETS:
        (DATA / bucket).mkdir(exist_ok=True)
    # no config file: the command line has all of rclone's settings
    argv = ["rclone", "serve", "s3", "--config", "", "--addr", ":9000", str(DATA)]
    os.execvpe(argv[0], argv, {**os.environ, "RCLONE_AUTH_KEY": pair})  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    main()
