"""The model that answers: its own process, watched, replaced without a gap."""
