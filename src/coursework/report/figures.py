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
    """Save a figure as ``NAME.png`` (in the figures folder) and show it in the notebook.

    The notebook's picture carries the alternative text of the name. A figure made from stand-in data
    says so across its top, so that it cannot pass for a result.
    """
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
    """Show a figure in a notebook with its alternative text.

    Converters read it from the picture's metadata. It also takes the place of ``<Figure size ...>``,
    which is what is read where pictures are not shown.
    """
    from IPython import get_ipython
    from IPython.display import display

    data, metadata = get_ipython().display_formatter.format(fig)
    data["text/plain"] = description
    data["image/png"] = _with_palette(data["image/png"])
    picture = metadata.setdefault("image/png", {})
    picture["alt"] = description
    display(data, metadata=metadata, raw=True)


def _with_palette(picture: str) -> str:
    """A PNG (base64) with 128 colours: a third of its size and the same to the eye."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(128).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()
