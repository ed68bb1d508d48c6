"""Predicted masks on the disk, and what they are worth."""
