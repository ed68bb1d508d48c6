"""Where stacks come from: folders, archives, buckets, web servers."""
