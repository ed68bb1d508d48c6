"""One module or folder per file format: the stack in a file, its voxels, and what its header says about spacing."""
