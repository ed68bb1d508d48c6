"""Whole volumes on the disk: read in parts, resampled, and predicted by sliding windows."""
