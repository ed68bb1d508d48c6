"""The stack in a TIFF: which planes it has, whether all of them are there, and what its metadata say."""
