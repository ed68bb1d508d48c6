"""From volumes to batches: which patches are drawn, read and augmented; every draw from (seed, epoch, index)."""
