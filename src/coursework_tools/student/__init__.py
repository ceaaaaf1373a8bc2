"""The student edition: the coursework without its answers, and checks that help to find them."""

from coursework_tools.student.edition import use

__all__ = ["use"]
