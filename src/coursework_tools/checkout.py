"""What only a checkout of the repository has, the installed package not."""

from pathlib import Path

from coursework import settings
from coursework.errors import ResultsError


def inside(path: str, command: str) -> Path:
    """A path of the checkout; ResultsError where there is none."""
    found = settings.repo_root() / path
    if not found.exists():
        raise ResultsError(f"There is no {found}; run `{command}` inside a checkout.")
    return found
