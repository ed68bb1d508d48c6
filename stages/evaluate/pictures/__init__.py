"""Pictures of a stack with its label, its prediction and where they differ."""
