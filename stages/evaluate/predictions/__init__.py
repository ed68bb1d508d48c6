"""Predicted masks on the disk, and their measurements."""
