"""The model that answers: a process of its own, watched, replaced without a gap."""
