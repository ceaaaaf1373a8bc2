"""The whole command line: adds ``run | report | submit | bench | grade | site | student | check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coursework import settings
from coursework.cli import app
from coursework.console import failure, guarded, show, survive_any_encoding
from coursework.errors import ConfigError

Notebooks = Annotated[
    list[str] | None, typer.Argument(help="Names or numbers, e.g. `6`; all by default.")
]
Problem = Annotated[int | None, typer.Option(help="One problem, 1 to 6; all by default.")]


@app.command("run")
@guarded
def run(
    notebooks: Notebooks = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset that is trained live: quick or full.")
    ] = None,
    inplace: Annotated[
        bool, typer.Option("--inplace", help="Store outputs and figures (real data only).")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Notebooks side by side; one a core by default.")
    ] = None,
) -> None:
    """Execute the notebooks and print the answer to every sub-question."""
    from coursework.report import questions
    from coursework_tools.publishing import run_progress

    if preset is not None and preset not in settings.PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose from quick, full.")
    names = questions.select(notebooks or [])
    failed = run_progress.follow(names, jobs=jobs, preset=preset, inplace=inplace)
    if failed:
        raise failure(f"failed: {', '.join(failed)}; the table says where.")


@app.command("report")
@guarded
def report(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if something is stale.")
    ] = False,
) -> None:
    """Validate the results, condense them into the headline and the README, typeset the writeup."""
    from coursework_tools.publishing import update

    if check:
        typer.echo(f"{update.check()} results, headline, README and writeup agree")
    else:
        update.update(typer.echo)


@app.command("submit")
@guarded
def submit(
    course: Annotated[str, typer.Argument(help="csci5527 or csc413.")],
    to: Annotated[Path, typer.Option("--to", help="A new folder.")],
) -> None:
    """Write what is handed in for a course, and run its shortest notebook alone to see that it works."""
    from coursework.report import questions
    from coursework_tools.publishing import submit as handing

    for path in handing.write(course, to):
        typer.echo(path)
    shortest = min(handing.notebooks_of(course), key=questions.SECONDS.__getitem__)
    handing.check(to, shortest)
    typer.echo(f"{shortest} runs alone")


@app.command("grade")
@guarded
def grade(
    notebooks: Notebooks = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run the tests that are named as evidence.")
    ] = True,
    html: Annotated[
        Path | None, typer.Option(help="Also write the rubric as one HTML page to this file.")
    ] = None,
) -> None:
    """The rubric of both homework sets: where each answer is, and what its evidence says now."""
    from coursework_tools.grading import grade as grader
    from coursework_tools.grading import tables

    if run:
        typer.echo("running the tests that are named as evidence ...", err=True)
    lines = grader.assess(notebooks or [], run=run)
    tables.print_all(lines)
    typer.echo(grader.summary(lines))
    if html is not None:
        typer.echo(f"written to {grader.write(lines, html)}")
    if grader.problems(lines):
        raise failure("not all evidence is there and holds; the tables say which.")


@app.command("site")
@guarded
def site(
    output: Annotated[
        Path | None, typer.Option(help="Folder of the pages; build/site by default.")
    ] = None,
) -> None:
    """Build the static site of notebooks, rubric, theory, benchmark and reference; check its links."""
    from coursework_tools.publishing import site

    typer.echo(f"written to {site.build(output) / 'index.html'}")


@app.command("bench")
@guarded
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Rows, e.g. `lstm`; all by default. A wrong one lists them."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes and fewer rounds.")] = False,
    record: Annotated[
        bool,
        typer.Option(help="Store the full benchmark in writeup/results, its plots in figures."),
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where networks run: cpu, cuda, or auto (the GPU if there is one).")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads; one by default.")] = None,
) -> None:
    """Time our layers against the libraries', as ratios from one run (above one: ours is faster)."""
    from coursework.report import store
    from coursework_tools.bench import run as harness
    from coursework_tools.publishing import speed

    preset = "quick" if quick else "full"
    result = harness.run(names or [], preset, on_pair=typer.echo, device=device, threads=threads)
    official = record and not names and not quick
    folder = settings.results_dir() if official else settings.build_dir() / "results"
    name = "bench" if result.config.device == "cpu" else "bench-gpu"
    written = store.make_record(name, [result])
    table = speed.table(written)
    show(f"Speed, ours against the peer: {table.caption}", table.columns, table.rows)
    stored = settings.repo_root() / "figures"
    target = stored if official and name == "bench" else settings.figures_dir()
    for figure in speed.plot(written, target):
        typer.echo(f"drawn in {target / figure}.png")
    typer.echo(f"recorded in {store.write(written, folder)}")


@app.command("student")
@guarded
def student(
    problem: Problem = None,
    folder: Annotated[Path, typer.Option(help="Where the edition goes.")] = Path("student"),
    force: Annotated[
        bool, typer.Option("--force", help="Start anew: what was written there is lost.")
    ] = False,
) -> None:
    """Write the student edition: skeletons and notebooks without the answers."""
    from coursework_tools.student import edition

    for path in edition.write(folder, problem, force):
        typer.echo(f"  {(folder / path).as_posix()}")
    where = "" if folder == Path("student") else f" --folder {folder}"
    typer.echo(f"Begin with {folder / 'README.md'}; `coursework check{where}` says what differs.")


@app.command("check")
@guarded
def check(
    problem: Problem = None,
    folder: Annotated[
        Path | None, typer.Option(help="A student edition; this folder or ./student by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Time that one object may take.")] = 60.0,
) -> None:
    """Check a student's versions; ends with 1 unless every object passes and every answer is there."""
    from coursework_tools.student import summary

    if not summary.show_all(folder, problem, seconds):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the ``coursework`` command."""
    survive_any_encoding()
    app()


if __name__ == "__main__":
    main()
