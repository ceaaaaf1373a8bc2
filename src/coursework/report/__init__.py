"""Results, tables and figures: the only way from a run to a number that somebody reads."""
