"""Which training is the champion: comparisons, the history that they and people leave, and the aliases that follow."""
