"""Puts the guard into a process."""

import sys

from .hook import Guard
from .policy import Policy


def install(policy_file: str) -> Guard:
    """Hold this process, and those that it forks, to the policy."""
    guard = Guard(Policy.load(policy_file))
    sys.addaudithook(guard.hook)
    return guard
