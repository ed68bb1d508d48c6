"""Where a network and its evaluation come from: the record that a run leaves, and what a machine says of itself."""
