"""Results that DVC's cache holds: which there are, and whether their inputs really give them."""
