"""Data sets on the Hugging Face Hub as sources: listed at one commit, downloaded once, checked by size and hash."""
