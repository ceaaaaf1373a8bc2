"""A table that renders as HTML in a notebook, as aligned text elsewhere, and as Markdown for the README."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def format_cell(value: Any) -> str:
    """Numbers at four significant digits, None as a dash, everything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value != value:
            return "nan"
        if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
            return f"{value:.1e}"
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


@dataclass(frozen=True)
class Table:
    """Columns and rows of anything printable.

    Attributes:
        columns: Headings.
        rows: One sequence per row, as long as ``columns``.
        caption: One line above the table.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"A row has {len(row)} cells for {len(self.columns)} columns.")

    def _cells(self) -> list[list[str]]:
        return [[format_cell(cell) for cell in row] for row in self.rows]

    def _numeric(self, column: int) -> bool:
        return all(isinstance(row[column], int | float) or row[column] is None for row in self.rows)

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [
            max(len(heading), *(len(row[i]) for row in cells)) if cells else len(heading)
            for i, heading in enumerate(self.columns)
        ]

        def line(row: Sequence[str]) -> str:
            return "  ".join(
                cell.rjust(w) if self._numeric(i) else cell.ljust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()

        head = [self.caption] if self.caption else []
        return "\n".join(
            [*head, line(self.columns), "  ".join("-" * w for w in widths), *map(line, cells)]
        )

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            return "".join(
                f'<{tag} style="text-align:{"right" if self._numeric(i) else "left"}">'
                f"{html.escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)
            )

        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self._cells())
        caption = (
            f'<caption style="text-align:left;caption-side:top">{html.escape(self.caption)}</caption>'
            if self.caption
            else ""
        )
        return (
            f"<table>{caption}<thead><tr>{row(list(self.columns), 'th')}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def to_markdown(self) -> str:
        """GitHub-flavoured Markdown."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = "|" + "|".join(
            "---:" if self._numeric(i) else "---" for i in range(len(self.columns))
        )
        return "\n".join([line(list(self.columns)), rule + "|", *map(line, self._cells())])
