"""Removes a container that its launcher made and could not start, because it was killed in between.

    python -m capillary.containers.last_duty CALLER EXECUTOR

Started by the leash. From its start on a container ends with its launcher by itself (inside.py).
"""

import os
import sys
import time

from capillary.containers.daemon import connect
from capillary.containers.siblings import remove

# the daemon may still be busy with the request that the launcher made last
PATIENCE_S = 5.0


def main() -> None:
    """Remove containers of the launcher whose folder is called CALLER that are made and not started."""
    api = connect({**os.environ, "CAPILLARY_EXECUTOR": sys.argv[2]})
    deadline = time.monotonic() + PATIENCE_S
    wanted = {"label": f"capillary.caller={sys.argv[1]}", "status": "created"}
    while time.monotonic() < deadline:
        for made in api.containers(all=True, filters=wanted):
            remove(api, made["Id"])
        time.sleep(0.2)


if __name__ == "__main__":
    main()
