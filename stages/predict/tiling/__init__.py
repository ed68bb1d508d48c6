"""Sliding windows over a volume on the disk."""
