"""Where a network comes from: the record that a training leaves, and what a machine says of itself."""
