"""How the host's processes end: requests to stop, grace periods, and what becomes of a child whose parent is gone.

What is to follow from an event, handlers of signals and locks are in stages/common/lifetimes, which stages share.
"""
