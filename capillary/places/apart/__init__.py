"""Jobs on nodes that share no disk with the head: code in the batch script, everything else through DVC's remote."""
