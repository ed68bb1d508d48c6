"""A worker without networks: speaks the protocol, and does to a stack what the stack's first word says.

Its reference is a file that holds NAME/VERSION, so that a test moves the alias by writing the file.
"""

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any


def _answer(**fields: Any) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


def _resolved(reference: str) -> str:
    return Path(reference).read_text().strip() if reference.startswith("/") else reference


def _segment(ask: dict[str, Any], served: dict[str, str]) -> None:
    job, folder, request = ask["job"], Path(ask["folder"]), ask["request"]
    text = (folder / (request["unpacked"] or f"stack{request['suffix']}")).read_bytes()
    word = text.split()[0].decode("ascii", "replace")
    _answer(job=job, progress=0.5)
    if word == "die":
        os._exit(9)
    if word == "wait":
        until = Path(text.split()[1].decode())
        while not until.exists():
            time.sleep(0.01)
    if word == "show":
        shown = Path(text.split()[1].decode())
        for name in ("view_stack.nii.gz", "view_mask.nii.gz"):
            shutil.copyfile(shown / name, folder / name)
    if word == "bad":
        _answer(job=job, failure={"what": "this is no stack", "remedy": "send another"})
        return
    (folder / f"mask{request['mask_suffix']}").write_bytes(b"mask of " + text + served["version"].encode())
    result = {"seconds": 0.1, "shape_zyx": [1, 2, 3], "spacing_um": [1.0, 1.0, 1.0], "vessel_share": 0.5}
    _answer(job=job, result=result)


def main() -> None:
    """Answer until standard input ends."""
    pinned = _resolved(sys.argv[1])
    if pinned.endswith("/broken"):
        _answer(failure={"what": "the self-test failed", "remedy": "promote another"})
        return
    name, _, version = pinned.rpartition("/")
    served = {"name": name, "version": version, "weights_sha256": hashlib.sha256(pinned.encode()).hexdigest()}
    _answer(ready=served, pinned=pinned)
    for line in sys.stdin:
        ask = json.loads(line)
        if ask["ask"] == "resolve":
            _answer(number=ask["number"], resolved=_resolved(ask["reference"]))
        else:
            # while it segments, it answers where the alias leads
            threading.Thread(target=_segment, args=(ask, served), daemon=True).start()


if __name__ == "__main__":
    main()
