"""Links that open the notebooks on Colab and Binder, from the repository's own address.

The address is written once, in ``pyproject.toml``::

    [project.urls]
    Repository = "https://github.com/OWNER/NAME"

Without it there is nothing to link to, and the README says so instead of showing a badge that leads
nowhere. A fork sets its own address and runs ``coursework report``.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from coursework import settings
from coursework.errors import ConfigError
from coursework.report.questions import NOTEBOOKS

BRANCH = "main"

UNSET = (
    "*Colab and Binder links appear here once the repository has an address: set* `Repository` *under*\n"
    "`[project.urls]` *in [pyproject.toml](pyproject.toml) and run* `coursework report`."
)


def address(path: Path | None = None) -> str | None:
    """The repository's address without its ending, None where none is set.

    Raises:
        ConfigError: If it is not the address of a repository on GitHub, which is what both services
            open by name.
    """
    path = path or settings.repo_root() / "pyproject.toml"
    if not path.is_file():
        return None
    urls = tomllib.loads(path.read_text(encoding="utf-8"))["project"].get("urls", {})
    url = urls.get("Repository")
    if url is None:
        return None
    url = url.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ConfigError(
            f"Repository in pyproject.toml is {url!r}; write https://github.com/OWNER/NAME."
        )
    return str(url)


def colab(url: str, notebook: str) -> str:
    """Where Colab opens a notebook."""
    name = url.removeprefix("https://github.com/")
    return (
        f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/notebooks/{notebook}.ipynb"
    )


def binder(url: str, notebook: str | None = None) -> str:
    """Where Binder builds the repository and opens JupyterLab, on a notebook if one is named."""
    name = url.removeprefix("https://github.com/")
    tree = f"%2Fnotebooks%2F{notebook}.ipynb" if notebook else ""
    return f"https://mybinder.org/v2/gh/{name}/{BRANCH}?urlpath=lab%2Ftree{tree}"


def markdown(url: str | None) -> str:
    """What the README shows."""
    if url is None:
        return UNSET
    opened = " · ".join(
        f"{name.partition('_')[0]} [Colab]({colab(url, name)}) [Binder]({binder(url, name)})"
        for name in NOTEBOOKS
    )
    return f"Open a notebook without installing anything: {opened}"
