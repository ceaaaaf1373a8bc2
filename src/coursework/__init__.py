"""Course solutions in deep learning; imports point one way only::

    models, data  ->  training  ->  experiments  ->  report, command line, notebooks

Importing the package limits computations to one thread, unless the environment says otherwise, and lets
torchvision be imported beside a CPU-only torch.
"""

from coursework import _torchvision, settings

__version__ = "0.1.0"

settings.limit_threads()
_torchvision.install()
