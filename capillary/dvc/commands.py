"""How DVC is started, and what of its words has no exit code of its own."""

import sys

DVC = (sys.executable, "-m", "dvc")
KILL_SAFE_DVC = (sys.executable, "-P", "-m", "capillary.dvc.command")
# another DVC holds the repository, for which --wait-for-lock waits, or a path that this one needs
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
