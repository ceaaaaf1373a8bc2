"""Speed, as median ratios of pairs that take turns on the same input: above one, ours is faster."""
