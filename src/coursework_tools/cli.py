"""The whole command line: adds ``run | report | submit | bench | grade | site | student | check``."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from coursework import settings
from coursework.cli import app, main
from coursework.console import failure, guarded, show
from coursework.errors import ConfigError
from coursework_tools import checkout


def command(function: Callable[..., None]) -> Callable[..., None]:
    return app.command(function.__name__)(guarded(function))


Notebooks = Annotated[list[str] | None, Argument(help="Names or numbers; all by default.")]
Problem = Annotated[int | None, Option(help="One problem, 1 to 6; all by default.")]


@command
def run(
    notebooks: Notebooks = None,
    preset: Annotated[str | None, Option(help="What is trained live: quick or full.")] = None,
    inplace: Annotated[bool, Option("--inplace", help="Store outputs in notebooks/ too.")] = False,
    jobs: Annotated[int | None, Option(help="How many; one per core by default.", min=1)] = None,
) -> None:
    """Execute the notebooks and print the answer to every sub-question."""
    from coursework.report import questions
    from coursework_tools.publishing import run

    if preset is not None and preset not in settings.PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose from quick, full.")
    names = questions.select(notebooks or [])
    if failed := run.follow(names, jobs=jobs, preset=preset, inplace=inplace):
        raise failure(f"failed: {', '.join(failed)}; the table says where.")


@command
def report(
    check: Annotated[bool, Option("--check", help="Write nothing; fail if one is stale.")] = False,
) -> None:
    """Validate the results, condense them into the headline and the README, typeset the writeup."""
    from coursework.report import store
    from coursework_tools.publishing import headline, readme, writeup

    checkout.inside("writeup/solutions.typ", "coursework report")
    count = len([store.read(name) for name in store.names()])  # reading validates
    if not check:
        headline.write()
        readme.update()
        typer.echo(headline.table())
        typer.echo(f"{count} results condensed into headline.json; README and docs are up to date")
        typer.echo("typesetting ...")
        for path in writeup.write():
            typer.echo(f"written to {path}")
    elif stale := [*readme.stale(), *headline.stale(), *writeup.stale()]:
        raise failure(f"{', '.join(stale)}: out of date; run `coursework report`.")
    else:
        typer.echo(f"{count} results, headline, README and writeup agree")


@command
def submit(
    course: Annotated[str, Argument(help="csci5527 or csc413.")],
    to: Annotated[Path, Option(help="Where to write it: a new or an empty folder.")],
) -> None:
    """Write what is handed in for a course, and run its shortest notebook alone to see that it works."""
    from coursework.report import questions
    from coursework_tools.publishing import submit

    for path in submit.write(course, to):
        typer.echo(path)
    shortest = min(submit.notebooks_of(course), key=questions.SECONDS.__getitem__)
    submit.check(to, shortest)
    typer.echo(f"{shortest} runs alone")


@command
def grade(
    notebooks: Notebooks = None,
    run: Annotated[bool, Option(help="Run the tests that are named as evidence.")] = True,
    html: Annotated[Path | None, Option(help="Also write the rubric as one HTML page.")] = None,
) -> None:
    """The rubric of both homework sets: where each answer is, and what its evidence says now."""
    from coursework_tools.grading import grade

    if run:
        typer.echo("running the tests that are named as evidence ...", err=True)
    lines = grade.assess(notebooks or [], run=run)
    for homework, mine in grade.grouped(lines):
        show(homework, grade.COLUMNS, map(grade.row, mine))
    typer.echo(grade.summary(lines))
    if html is not None:
        typer.echo(f"written to {grade.write(lines, html)}")
    if grade.problems(lines):
        raise failure("not all evidence is there and holds; the tables say which.")


@command
def site() -> None:
    """Build the site of notebooks, rubric, theory, benchmark and reference in build/site; check its links."""
    from coursework_tools.publishing import site

    typer.echo(f"written to {site.build() / 'index.html'}")


@command
def bench(
    names: Annotated[list[str] | None, Argument(help="Rows; a wrong name lists all.")] = None,
    quick: Annotated[bool, Option("--quick", help="Smaller sizes and fewer rounds.")] = False,
    record: Annotated[bool, Option("--record", help="Keep it in writeup/results.")] = False,
    device: Annotated[str, Option(help="cpu, cuda, or auto (the GPU if there is one).")] = "auto",
) -> None:
    """Time our layers against the libraries', as ratios from one run (above one: ours is faster)."""
    from coursework.report import store
    from coursework_tools.bench import run as harness
    from coursework_tools.publishing import speed

    if record and (names or quick):
        raise ConfigError("Only the full benchmark of all rows is kept; drop --quick and names.")
    preset = "quick" if quick else "full"
    result = harness.run(names or [], preset, say=typer.echo, device=device)
    name = "bench" if result.config.device == "cpu" else "bench-gpu"
    written = store.make_record(name, [result])
    table = speed.table(written)
    show(f"Speed, ours against the peer: {table.caption}", table.columns, table.rows)
    folder, drawn = settings.build_dir() / "results", settings.figures_dir()
    if record:
        folder = settings.results_dir()
        drawn = settings.repo_root() / "figures" if name == "bench" else drawn
    for figure in speed.plot(written, drawn):
        typer.echo(f"drawn in {drawn / figure}.png")
    typer.echo(f"recorded in {store.write(written, folder)}")


@command
def student(
    problem: Problem = None,
    folder: Annotated[Path, Option(help="Where the edition goes.")] = Path("student"),
    force: Annotated[bool, Option("--force", help="Start anew: your work there is lost.")] = False,
) -> None:
    """Write the student edition: skeletons and notebooks without the answers."""
    from coursework_tools.student import edition

    for path in edition.write(folder, problem, force):
        typer.echo(f"  {(folder / path).as_posix()}")
    typer.echo(f"Begin with {folder / 'README.md'}; then `coursework check --folder {folder}`.")


@command
def check(
    problem: Problem = None,
    folder: Annotated[Path | None, Option(help="By default this one, or ./student.")] = None,
    seconds: Annotated[float, Option(help="Time that one object may take.", min=1)] = 60.0,
) -> None:
    """Check a student's versions; ends with 1 unless every object passes and every answer is there."""
    from coursework_tools.student import runner

    if not runner.show_all(folder, problem, seconds):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
