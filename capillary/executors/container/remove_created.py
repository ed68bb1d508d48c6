"""Removes a container that was created but not started, because its launcher was killed in between.

    python -m capillary.executors.container.remove_created CALLER EXECUTOR

The leash starts this program. A container that has started ends with its launcher by itself (inside.py).
"""

import os
import sys
import time

from capillary.executors.container.daemon import connect
from capillary.executors.container.siblings import remove
from capillary.settings import ExecutorName

# the daemon may still be working on the launcher's last request
PATIENCE_S = 5.0


def main() -> None:
    """Remove containers that are created but not started, of the launcher whose folder is CALLER."""
    api = connect(os.environ, ExecutorName(sys.argv[2]))
    deadline = time.monotonic() + PATIENCE_S
    wanted = {"label": f"capillary.caller={sys.argv[1]}", "status": "created"}
    while time.monotonic() < deadline:
        for made in api.containers(all=True, filters=wanted):
            remove(api, made["Id"])
        time.sleep(0.2)


if __name__ == "__main__":
    main()
