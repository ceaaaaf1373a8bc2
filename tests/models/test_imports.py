"""The models are plain PyTorch: nothing else of the project, and no other library."""

import ast
import sys
from pathlib import Path

import pytest

import coursework.models

FOLDER = Path(coursework.models.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_models_import_torch_only(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            imported.add(node.module or "")
    foreign = {
        name
        for name in imported
        if name.split(".")[0] not in {"torch", *sys.stdlib_module_names}
        and not name.startswith("coursework.models")
    }
    assert foreign == set()
