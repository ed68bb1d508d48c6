"""For every tier."""

import os

# projects that tests make have none of this repository's settings: DVC would report home from each command in them
os.environ["DVC_NO_ANALYTICS"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # tests side by side compute with a thread each; stages get theirs from the launcher
    os.environ.setdefault("OMP_NUM_THREADS", "1")
