"""Networks from the registry."""
