"""Labels: what their values mean, and what params.yaml says of that."""
