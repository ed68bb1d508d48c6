"""Volumes that lie on the disk instead of in memory."""
