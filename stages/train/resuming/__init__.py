"""What lets a training end and continue: checkpoints, signals, the lock of a cell."""
