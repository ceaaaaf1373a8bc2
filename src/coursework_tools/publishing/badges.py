"""Links that open the notebooks on Colab and Binder, from the repository's own address.

The address is written once, as ``Repository`` under ``[project.urls]`` in ``pyproject.toml``. Without it
there is nothing to link to, and the README says so instead of showing a badge that leads nowhere.
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

    ConfigError if it is not one on GitHub, which is what both services open by name.
    """
    path = path or settings.repo_root() / "pyproject.toml"
    if not path.is_file():
        return None
    urls = tomllib.loads(path.read_text(encoding="utf-8"))["project"].get("urls", {})
    if "Repository" not in urls:
        return None
    url = str(urls["Repository"]).removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ConfigError(
            f"Repository in pyproject.toml is {url!r}; write https://github.com/OWNER/NAME."
        )
    return url


def markdown(url: str | None) -> str:
    """What the README shows: each notebook on Colab, and in a JupyterLab that Binder builds."""
    if url is None:
        return UNSET
    name = url.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/notebooks"
    binder = f"https://mybinder.org/v2/gh/{name}/{BRANCH}?urlpath=lab%2Ftree%2Fnotebooks%2F"
    opened = " · ".join(
        f"{notebook.partition('_')[0]} [Colab]({colab}/{notebook}.ipynb) [Binder]({binder}{notebook}.ipynb)"
        for notebook in NOTEBOOKS
    )
    return f"Open a notebook without installing anything: {opened}"
