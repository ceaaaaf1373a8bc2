"""A table that renders as HTML in a notebook, as aligned text elsewhere, and as Markdown for the README."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Metric = Mapping[str, Any]  # mean, std, values, and low and high where there is an interval


def format_cell(value: Any) -> str:
    """Numbers at four significant digits, None as a dash, everything else as it is."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() if value and not 1e-3 <= abs(value) < 1e6:  # nan, too
            return f"{value:.1e}"
        case float():
            return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]  # each as long as the columns
    caption: str = ""  # one line above the table

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"A row has {len(row)} cells for {len(self.columns)} columns.")

    def _cells(self) -> list[list[str]]:
        return [[format_cell(cell) for cell in row] for row in self.rows]

    def _numeric(self, column: int) -> bool:
        return all(isinstance(row[column], int | float) or row[column] is None for row in self.rows)

    def __repr__(self) -> str:
        lines = [self.columns, *([c.replace("\n", "; ") for c in row] for row in self._cells())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        forms = [f"{{:{'<>'[self._numeric(i)]}{width}}}" for i, width in enumerate(widths)]
        head, *body = ("  ".join(forms).format(*cells).rstrip() for cells in lines)
        caption = [self.caption] if self.caption else []
        return "\n".join([*caption, head, "  ".join("-" * width for width in widths), *body])

    def _repr_html_(self) -> str:
        sides = ["right" if self._numeric(i) else "left" for i in range(len(self.columns))]

        def row(cells: Sequence[str], tag: str) -> str:
            styled = [f'<{tag} style="text-align:{side}">' for side in sides]
            pairs = zip(styled, map(html.escape, cells), strict=True)
            return "<tr>" + "".join(f"{start}{cell}</{tag}>" for start, cell in pairs) + "</tr>"

        head, body = row(self.columns, "th"), "".join(row(cells, "td") for cells in self._cells())
        body = body.replace("\n", "<br>")
        style = "text-align:left;caption-side:top"
        caption = f'<caption style="{style}">{html.escape(self.caption)}</caption>'
        above = caption if self.caption else ""
        return f"<table>{above}<thead>{head}</thead><tbody>{body}</tbody></table>"

    def to_markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = "".join("|---:" if self._numeric(i) else "|---" for i in range(len(self.columns)))
        return "\n".join([line(list(self.columns)), rule + "|", *map(line, self._cells())])


class Tables(list[Table]):
    """Several tables, one below the other."""

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self))

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self)


def shown(metric: Metric, form: str) -> str:
    """A metric as text: ``.1%`` formats the mean, ``mean ± std .4f`` and ``low to high .1f %`` all numbers.

    A final `` %`` stands for 100 times the number, ``(n)`` for the number of seeds, ``(how)`` for what the
    interval is from. What the metric lacks is left out, and without a spread also the number of seeds; a dash
    is nothing, or a difference from itself.
    """
    words, _, number = form.removesuffix(" %").rpartition(" ")
    if not words:
        return format(metric["mean"], number)
    if not metric["std"]:
        words = words.partition(" ±")[0]
    if metric.get("low") == metric.get("high"):
        words = re.sub(r"^low.*| \[.*", "", words)
    if not words or (number.startswith("+") and not any(metric["values"])):
        return "–"
    scale = 100 if form.endswith(" %") else 1
    text = re.sub("mean|std|low|high", lambda name: format(scale * metric[name[0]], number), words)
    text = text.replace("(how)", f"({metric.get('interval')})")
    return text.replace("(n)", f"(n = {len(metric['values'])})")
