"""Course solutions in deep learning.

The package is layered and imports point one way only::

    models, data  ->  training  ->  experiments  ->  report, cli, notebooks

Importing it is cheap and has one side effect, described in :mod:`coursework._torchvision`: where
torchvision's compiled operators cannot be loaded (its wheel is linked against CUDA, torch is the CPU
build), the two operator schemas that its import needs are declared before it is first imported.
"""

from coursework import _torchvision

__version__ = "0.1.0"

_torchvision.install()
