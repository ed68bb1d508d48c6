"""Statistics that several stages need: independent groups, the paired test over them, and the form of results."""
