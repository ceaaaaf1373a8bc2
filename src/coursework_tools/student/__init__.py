"""The student edition: the coursework without its answers, and checks that help to find them.

``coursework student`` writes it, ``coursework check`` judges what was written into it. Everything is made
from the solutions, by the markers that stand in them (:mod:`coursework_tools.student.markers`).
"""

from coursework_tools.student.edition import use

__all__ = ["use"]
