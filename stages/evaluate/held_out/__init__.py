"""Volumes that no fold sees, under each network and under all networks of a loss as one."""
