"""What may be a slip in a set of stacks: remarks, where nothing is certain enough to refuse."""
