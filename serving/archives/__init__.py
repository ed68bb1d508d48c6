"""Uploaded archives: the only stack in one is found by the names of its files, and unpacked by ingest's readers."""
