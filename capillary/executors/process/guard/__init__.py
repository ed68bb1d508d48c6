"""The first thing that runs in a stage's process: holds the stage to its plan, then runs the stage.

    python -P -m capillary_guard POLICY.json stages.train --loss dice_ce --fold 0

An audit hook sees every file that Python opens, lists, makes, renames, removes or changes, every connection and every
look-up of a host. It refuses
  - reading what the stage's entry in dvc.yaml does not declare, in the project or elsewhere; the interpreter, installed
    packages, the system's folders and the user's own settings (~/.*) stay readable,
  - writing anything but the outs, the stage's temporary folder and the folders that the policy names,
  - what belongs to other processes: their memory, environment and open files,
  - connections, look-ups and listening beyond the loopback, where the policy's network is `none`; the Docker daemon's
    socket always.
A path is judged by where it leads: links, `..` and /proc are followed as the kernel follows them. Python processes that
the stage starts are held to the same: sitecustomize.py sees to it.

It is a guard against mistakes, not a wall: programs that are not Python, and C code that opens a file by itself, pass
it, though by relative paths even they find nothing but what is declared. What they write over a dep or next to the outs
is found before anything is published (publish.py). The container executor is the wall.

Standard library alone, imports nothing of this project: it runs before the sandbox's own code is importable. The
sandbox links this folder as `capillary_guard`, so its modules import each other by relative names.
"""

from .hook import Guard
from .policy import Policy, UndeclaredAccess

__all__ = ["Guard", "Policy", "UndeclaredAccess"]
