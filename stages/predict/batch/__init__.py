"""Many stacks in one run: reading, computing and writing overlap, and a stack that fails does not stop the others."""
