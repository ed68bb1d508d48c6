"""One page that a person can send."""
