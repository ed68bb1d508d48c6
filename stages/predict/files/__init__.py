"""Stacks and pictures in files, read and written slice by slice."""
