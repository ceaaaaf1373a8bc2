"""Training: the loop, checkpoints, seeds and devices. See :mod:`coursework.training.engine`."""
