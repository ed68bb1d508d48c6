"""The stack in a NIfTI, and its header before a library follows it."""
