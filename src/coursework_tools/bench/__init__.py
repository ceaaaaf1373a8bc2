"""Speed, as ratios from one run: pairs of variants timed alternately on the same input.

A ratio above one means that ours is faster. Seconds depend on the machine and are stored beside it;
ratios of interleaved pairs survive other load better, and nothing here is a pass/fail test.
"""
