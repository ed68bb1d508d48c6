"""Archives as sources. Their list of members is read first; only files that the set needs are written, never links."""
