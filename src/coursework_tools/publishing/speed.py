"""The recorded benchmark as a table and as plots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coursework.report import store
from coursework.report.tables import Table

COLUMNS = (
    "row", "what", "ours", "peer", "ratio (median)", "quartiles", "goal", "peak memory, ours / peer",
    "share of the limit",
)  # fmt: skip
NOTHING = "No benchmark has been recorded yet: `coursework bench --record`."


def rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a recorded benchmark. Goals are for a CPU."""
    no_goals = {} if record["machine"]["device"] == "cpu" else {"goal": None, "met": None}
    return [row | no_goals for row in record["notes"]["rows"]]


def table(record: Mapping[str, Any]) -> Table:
    return Table(COLUMNS, [_line(row) for row in rows(record)], caption=_machine(record))


def markdown(folder: Path | None = None) -> str:
    """The recorded benchmark for docs/: machine, table, and how many goals are reached; then the rows
    that were measured on a GPU, if they are recorded."""
    names, said = store.names(folder), [NOTHING]
    if "bench" in names:
        record = store.read("bench", folder)
        judged = [row for row in rows(record) if row.get("met") is not None]
        missed = [f"`{row['key']}`" for row in judged if not row["met"]]
        verdict = f"{len(judged) - len(missed)} of {len(judged)} goals are reached"
        verdict += f"; missed: {', '.join(missed)}." if missed else "."
        said = [_machine(record), table(record).to_markdown(), verdict]
    if "bench-gpu" in names:
        record = store.read("bench-gpu", folder)
        said += [f"On a GPU: {_machine(record)}", table(record).to_markdown()]
    return "\n\n".join(said)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    goal = f"{row['goal']} {'✓' if row['met'] else '✗'}" if row.get("goal") else "–"
    if "ratio" not in row:
        between = "{:.3g} to {:.3g}".format(*row["spread"]) if row.get("spread") else "–"
        value = f"{row['value']:.3g} {row['unit']}"
        return (row["key"], row["what"], value, "–", "–", between, goal, "–", "–")
    low, middle, high = row["ratio"]
    medians = (row[who][1] for who in ("ours", "peer"))
    ours, peer = (f"{s:.2f} s" if s >= 1 else f"{s * 1e3:.2f} ms" for s in medians)
    memory = [
        "–" if n is None else f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
        for n in row["memory"]
    ]
    share = "–" if row["share"] is None else f"{100 * row['share']:.2g} %"
    return (
        row["key"], row["what"], ours, peer, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", goal,
        " / ".join(memory), share,
    )  # fmt: skip


def _machine(record: Mapping[str, Any]) -> str:
    limit = record["notes"]["limit"].items()
    measured = ", ".join(f"{what} {value:.0f}" for what, value in limit)
    return f"{store.device_of(record, model=True)}, 1 thread; measured limit: {measured}"


def plot(record: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw ``bench_ratios`` and ``bench_growth`` into a folder; returns their names."""
    import matplotlib

    matplotlib.use("agg")
    from coursework.report import figures

    drawn = {}
    if pairs := [row for row in reversed(rows(record)) if "ratio" in row]:
        drawn["bench_ratios"], axis = figures.subplots(figsize=(7, 0.9 + 0.26 * len(pairs)))
        for place, row in enumerate(pairs):
            low, middle, high = row["ratio"]
            error = [[middle - low], [high - middle]]
            axis.errorbar(middle, place, xerr=error, fmt="o", color="C0" if middle >= 1 else "C1")
            if row.get("goal"):
                axis.plot(float(row["goal"].split()[-1]), place, "|", color="black", markersize=10)
        axis.set_yticks(range(len(pairs)), [row["key"] for row in pairs])
        axis.axvline(1, color="grey", linewidth=0.8)
        axis.set(xscale="log", xlabel="times as fast as the peer (bar: quartiles, mark: goal)")
    if curves := {name: runs[0] for name, runs in record["curves"].items() if runs and runs[0]}:
        fig, axes = figures.subplots(1, 2, figsize=(9, 4))
        labels = {"seconds": "seconds", "bytes": "peak memory (bytes)"}
        for axis, (key, label) in zip(axes, labels.items(), strict=True):
            for place, (name, points) in enumerate(curves.items()):
                style = "o-" if place < 4 else "s--"  # there are more lines than colours
                values = [point[key] for point in points]
                if min(values) > 0:
                    sizes = [point["size"] for point in points]
                    axis.plot(sizes, values, style, markersize=4, label=name.replace("_", " "))
            axis.set(xscale="log", yscale="log", xlabel="size of the input", ylabel=label)
        drawn["bench_growth"] = fig
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    for name, fig in drawn.items():
        figures.show(fig, name, folder=folder)
    return list(drawn)
