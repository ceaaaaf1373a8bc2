"""The walls: which part may import which, and what may not stand in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coursework import settings
from coursework.experiments.base import EXPERIMENTS

ROOT = settings.repo_root()
PACKAGE = ROOT / "src" / "coursework"

ALLOWED = {
    "models": {"models"},
    "data": {"data", "settings", "errors"},
    "training": {"training", "settings", "errors"},
    "theory": {"theory", "models", "errors"},
    "experiments": {"experiments", "data", "models", "training", "settings", "errors", "report"},
    "student": {"student", "models", "report", "settings", "errors"},
    "report": {"report", "experiments", "theory", "data", "settings", "errors"},
}


def imports(path: Path) -> set[str]:
    """Parts of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "coursework":
                names = [f"coursework.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("coursework.")}
    return found


@pytest.mark.parametrize("part", list(ALLOWED))
def test_imports_point_one_way(part: str) -> None:
    for path in (PACKAGE / part).rglob("*.py"):
        assert imports(path) <= ALLOWED[part], path.relative_to(ROOT)


def test_models_need_torch_only() -> None:
    for path in (PACKAGE / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                top = module.split(".")[0]
                known = top in {"torch", "coursework"} or top in sys.stdlib_module_names
                assert known, (path.name, module)


def test_only_settings_reads_the_environment() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name in {"settings.py", "engine.py", "seeds.py"}:
            continue  # set variables for a kernel; read torchrun's; set cuBLAS's
        assert "os.environ" not in path.read_text(encoding="utf-8"), path.relative_to(ROOT)


def test_every_experiment_has_its_module_presets_and_test() -> None:
    from coursework.experiments import base

    for name in EXPERIMENTS:
        module = base.get(name)
        assert {"quick", "full"} <= set(module.PRESETS)
        assert callable(module.train)
        assert callable(module.evaluate)
        assert (ROOT / "tests" / "experiments" / f"test_{name}.py").is_file()


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_path_of_one_machine_and_nothing_large() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
    for path in tracked():
        size = path.stat().st_size
        assert size < 15_000_000, path
        if (
            path.suffix in {".py", ".md", ".toml", ".typ", ".yaml", ".yml", ".txt"}
            or not path.suffix
        ):
            if path.name in {"test_architecture.py", "test_hygiene.py"}:
                continue
            assert not pattern.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_no_foreign_data_is_committed() -> None:
    for path in tracked():
        assert path.suffix not in {".gz", ".zip", ".csv", ".npz", ".parquet"}, path


@pytest.mark.parametrize("page", ["README.md", "data/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(
        r"\]\((?!https?:|#|mailto:)([^)#]+)", path.read_text(encoding="utf-8")
    ):
        assert (path.parent / target).exists(), f"{page} links to {target}"


def test_readme_names_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make (\w+)", text, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
