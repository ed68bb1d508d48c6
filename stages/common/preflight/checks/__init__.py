"""One file per check. A check measures, compares with its threshold, and names the remedy."""
