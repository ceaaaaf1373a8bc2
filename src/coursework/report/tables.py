"""A table that renders as HTML in a notebook, as aligned text elsewhere, and as Markdown for the README."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coursework.errors import ResultsError
from coursework.stats import summarise

Record = Mapping[str, Any]
Metric = Mapping[str, Any]  # mean, std, values, and low and high where there is an interval
Form = str | Callable[[Metric], str]  # a format of the mean such as ".1%", or a function below


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
        lines = [self.columns, *self._cells()]
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
        style = "text-align:left;caption-side:top"
        caption = f'<caption style="{style}">{html.escape(self.caption)}</caption>'
        above = caption if self.caption else ""
        return f"<table>{above}<thead>{head}</thead><tbody>{body}</tbody></table>"

    def to_markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = "".join("|---:" if self._numeric(i) else "|---" for i in range(len(self.columns)))
        return "\n".join([line(list(self.columns)), rule + "|", *map(line, self._cells())])


def spread(metric: Metric, digits: int = 4) -> str:
    """``mean ± std (n = seeds)``."""
    count = len(metric["values"])
    text = f"{metric['mean']:.{digits}f}"
    return text if count == 1 else f"{text} ± {metric['std']:.{digits}f} (n = {count})"


def percent(metric: Metric, digits: int = 2) -> str:
    """``mean ± std`` of a share, in percent."""
    text = f"{100 * metric['mean']:.{digits}f}"
    return text if metric["std"] is None else f"{text} ± {100 * metric['std']:.{digits}f}"


def points(metric: Metric, digits: int = 2) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * metric['mean']:+.{digits}f}"


def signed(metric: Metric, digits: int = 4) -> str:
    """A difference with its sign and, where there is one, its interval."""
    text = f"{metric['mean']:+.{digits}f}"
    if "low" not in metric:
        return text
    return f"{text} [{metric['low']:+.{digits}f}, {metric['high']:+.{digits}f}]"


def interval(metric: Metric, form: str = ".2f", scale: float = 1) -> str:
    """``low to high``; a dash without an interval."""
    if "low" not in metric:
        return "–"
    return f"{scale * metric['low']:{form}} to {scale * metric['high']:{form}}"


def metric_of(record: Record, name: str) -> Metric | None:
    """A metric of a record; ``a - b`` is their difference, seed by seed. None if it is not recorded."""
    parts = [record["metrics"].get(part) for part in name.split(" - ")]
    if None in parts:
        return None
    if len(parts) == 1:
        return parts[0]
    a, b = (part["values"] for part in parts)
    return summarise([x - y for x, y in zip(a, b, strict=True)])


def grid(
    record: Record | None,  # where the metrics are, unless a row names its own record
    rows: Sequence[tuple[Any, ...]],  # (label, key) or (label, key, record)
    columns: Sequence[tuple[Any, ...]],  # (label, name) or (label, name, form)
    form: Form = spread,  # in columns that do not say
    caption: str = "",
    heading: str = "",  # of the labels
) -> Table:
    """Metrics of one or several records as a table; a row or column without any is a slip, and refused.

    The row's key takes the place of ``{}`` in a column's name (``"{}.test_accuracy"``); a name without
    ``{}`` is a prefix. ``"skip.{} - noskip.{}"`` is a paired difference. A function of (record, key) gives
    the cell itself.
    """
    cells = [
        [label, *(_cell(own[0] if own else record, key, column, form) for column in columns)]
        for label, key, *own in rows
    ]
    places = [i for i, (_, name, *_) in enumerate(columns, start=1) if not callable(name)]
    lines = [(f"row {row[0]!r}", [row[place] for place in places]) for row in cells]
    lines += [(f"column {columns[i - 1][0]!r}", [row[i] for row in cells]) for i in places]
    for line, found in lines:
        if found and all(cell is None for cell in found):
            raise ResultsError(f"No metric of the {line} is recorded; mend its name.")
    return Table([heading, *(label for label, *_ in columns)], cells, caption)


def _cell(record: Any, key: str, column: tuple[Any, ...], form: Form) -> Any:
    _, name, form = (*column, form)[:3]
    if callable(name):
        return name(record, key)
    metric = metric_of(record, name.replace("{}", key) if "{}" in name else name + key)
    if metric is None:
        return None
    return form(metric) if callable(form) else format(metric["mean"], form)
