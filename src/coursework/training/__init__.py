"""Training: the loop, checkpoints, seeds and progress. See :mod:`coursework.training.engine`."""
