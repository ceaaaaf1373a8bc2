"""What every command shares: tables that fit the terminal, and errors as one sentence."""

import functools
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import typer

from coursework import settings
from coursework.errors import ConfigError, CourseworkError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Cell = str | tuple[str, str]  # plain text, or text and its colour


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar of plain text that erases itself, unless ``COURSEWORK_PROGRESS=0``."""
    from tqdm import tqdm

    options = {"total": total, "leave": False, "mininterval": 0.5, "dynamic_ncols": True}
    hidden = not settings.progress()
    yield from tqdm(iterable, description, file=sys.stdout, disable=hidden, **options)


def survive_any_encoding() -> None:
    """Print a question mark for what the terminal cannot show, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def failure(message: str, code: int = 1) -> typer.Exit:
    """Print an error; what is returned ends the program when raised."""
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(message, err=True)
    return typer.Exit(code)


def guarded(command: F) -> F:
    """Turn errors that a user can mend into one sentence and an exit code: 2 for wrong use, else 1."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except CourseworkError as error:
            raise failure(str(error), 2 if isinstance(error, ConfigError) else 1) from error
        except KeyboardInterrupt as error:
            what = "interrupted; a training goes on from its last checkpoint with the same options"
            what += " and --resume."
            raise failure(what, 130) from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise failure(f"{error.strerror or error}{where}.") from error

    return wrapper  # type: ignore[return-value]


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table as wide as the terminal (or ``COLUMNS``, or 80), in a pipe without lines and colours.
    Where the words of a row do not fit beside each other, each row becomes a list of its cells."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    lines = box.ROUNDED if console.is_terminal else None
    wide, narrow = Table(box=lines, header_style="bold"), Table.grid("", "", padding=(0, 2, 0, 0))
    texts = [[Text(c) if isinstance(c, str) else Text(*c) for c in row] for row in rows]
    plain = [columns, *([cell.plain for cell in row] for row in texts)]
    least = [max(map(_longest_word, column)) for column in zip(*plain, strict=True)]
    least[-1] = min(least[-1], 14)  # mostly prose, so that its longest words may break
    spare = console.width - sum(least) - 3 * len(columns) - 1
    fits = spare >= 0
    for name, width, column in zip(columns, least, zip(*plain, strict=True), strict=True):
        more = max(0, min(spare, max(map(len, column)) - width))
        wide.add_column(name, width=width + more, overflow="fold")
        spare -= more
    for row in texts:
        wide.add_row(*row)
        for name, cell in zip(columns, row, strict=True):
            if cell.plain != "–":
                narrow.add_row(Text(name, style="bold"), cell)
        narrow.add_row()
    console.print(Text(title, style="bold"))
    console.print(wide if fits else narrow)


def _longest_word(cell: str) -> int:
    return len(cell) if len(cell) < 10 else max(map(len, cell.split()))
