"""Figures: one style, one way to save and show them."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from coursework import settings
from coursework.data.sources import Source
from coursework.report import alt

STYLE = Path(__file__).with_name("coursework.mplstyle")


def subplots(*args: Any, **kwargs: Any) -> tuple[Figure, Any]:
    """``plt.subplots`` in the house style."""
    plt.style.use(str(STYLE))
    return plt.subplots(*args, **kwargs)


def show(
    fig: Figure, name: str, source: Source | None = None, *, folder: Path | None = None
) -> None:
    """Save a figure and show it with its alternative text; one of stand-in data says so across its top."""
    if source is not None and source.is_standin:
        fig.suptitle("STAND-IN DATA, NOT A RESULT", color="#D55E00", fontsize=11, weight="bold")
    folder = folder or settings.figures_dir()
    folder.mkdir(parents=True, exist_ok=True)
    # Without metadata the same picture is the same file, which keeps the history of figures/ quiet.
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})
    backend = plt.get_backend().lower()
    if "inline" in backend:
        _display(fig, alt.text(name))
    elif backend != "agg":
        plt.show()
    plt.close(fig)


def _display(fig: Figure, description: str) -> None:
    from IPython import get_ipython
    from IPython.display import display

    data, metadata = get_ipython().display_formatter.format(fig)
    # converters read the metadata; the text takes the place of <Figure size ...> where no picture is shown
    metadata.setdefault("image/png", {})["alt"] = data["text/plain"] = description
    written = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
        # 128 colours: a third of the size and the same to the eye
        image.convert("RGB").quantize(128).save(written, "PNG", optimize=True)
    data["image/png"] = base64.b64encode(written.getvalue()).decode()
    display(data, metadata=metadata, raw=True)
