"""What lets a training end and go on: checkpoints, signals, the lock of a cell."""
