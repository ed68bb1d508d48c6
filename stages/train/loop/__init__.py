"""The training loop: steps, epochs, their state and records."""
