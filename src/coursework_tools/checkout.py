"""What only a checkout of the repository has, the installed package not."""

from pathlib import Path
from typing import Any

from coursework import settings
from coursework.errors import ResultsError


def inside(path: str, command: str) -> Path:
    """A path of the checkout; ResultsError where there is none."""
    found = settings.repo_root() / path
    if not found.exists():
        raise ResultsError(f"There is no {found}; run `{command}` inside a checkout.")
    return found


def notebook(name: str) -> Any:
    """A notebook by its name without ending; ResultsError if it cannot be read."""
    import nbformat

    path = settings.repo_root() / "notebooks" / f"{name}.ipynb"
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        what = f"There is no notebook at {path} that can be read"
        raise ResultsError(f"{what}; restore it from git.") from error
