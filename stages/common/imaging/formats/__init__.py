"""One module per file format: finding the stack, reading its voxels, and what its header says about spacing."""
