"""Statistics that several stages need: independent groups, and the paired test over them."""
