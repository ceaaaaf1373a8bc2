"""Course solutions in deep learning.

The package is layered and imports point one way only::

    models, data  ->  training  ->  experiments  ->  report, command line, notebooks

Importing it is cheap and has two side effects: computations take one thread unless the environment says
otherwise (:func:`coursework.settings.limit_threads`), and torchvision can be imported beside a CPU-only
torch (:mod:`coursework._torchvision`).
"""

from coursework import _torchvision, settings

__version__ = "0.1.0"

settings.limit_threads()
_torchvision.install()
