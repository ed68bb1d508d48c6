"""How stores of OME-Zarr that predict writes are cut. Standard library alone: the host asks, too."""

CHUNK_ZYX = (16, 256, 256)  # voxels of a file
LEVEL = "0"  # the name of the one array in a store
