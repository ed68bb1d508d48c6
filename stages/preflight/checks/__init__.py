"""One file a check. A check measures, compares with its threshold, and names the remedy."""
