import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coursework import settings
from coursework.errors import ConfigError, DataError


def test_data_root_must_be_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path / "nowhere"))
    message = r"COURSEWORK_DATA is set to .*nowhere.*not a folder; set it to the folder that holds"
    with pytest.raises(DataError, match=message):
        settings.data_root()
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path))
    assert settings.data_root() == tmp_path
    monkeypatch.setenv("COURSEWORK_DATA", "")
    assert settings.data_root() is None


def test_preset_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSEWORK_PRESET", raising=False)
    assert settings.preset() == "quick"
    monkeypatch.setenv("COURSEWORK_PRESET", "")
    assert settings.preset() == "quick"
    monkeypatch.setenv("COURSEWORK_PRESET", "FULL")
    assert settings.preset() == "full"
    monkeypatch.setenv("COURSEWORK_PRESET", "fast")
    with pytest.raises(ConfigError, match="COURSEWORK_PRESET is 'fast'; set it to quick or full"):
        settings.preset()


def test_flags_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEWORK_OFFLINE", "yes")
    assert settings.offline()
    monkeypatch.setenv("COURSEWORK_OFFLINE", "0")
    assert not settings.offline()
    for name in ("OFFLINE", "PROGRESS"):
        monkeypatch.setenv(f"COURSEWORK_{name}", "")  # as if it were not set
    assert (settings.offline(), settings.progress()) == (False, True)
    for name, flag in (("OFFLINE", settings.offline), ("PROGRESS", settings.progress)):
        monkeypatch.setenv(f"COURSEWORK_{name}", "maybe")
        with pytest.raises(ConfigError, match=f"COURSEWORK_{name} is 'maybe'; set it to 1 or 0"):
            flag()


def test_figures_stay_out_of_the_checkout_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSEWORK_BUILD", raising=False)
    monkeypatch.delenv("COURSEWORK_FIGURES", raising=False)
    assert settings.figures_dir() == settings.repo_root() / "build" / "figures"


def run(code: str, **options: Any) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options)
    return done.stdout.strip()


def test_schemas_are_declared_only_where_they_are_missing() -> None:
    code = (
        "from coursework import _torchvision as shim\n"
        "import sys; n = len(sys.meta_path)\n"
        "shim.install(); assert len(sys.meta_path) == n\n"
        "shim.declare_missing_operators(); first = shim.library\n"
        "shim.declare_missing_operators(); second = shim.library is not first\n"
        "import torch\n"
        "assert hasattr(torch.ops.torchvision, 'nms')\n"
        "print(second)"
    )
    assert run(code) == "False"


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, 1),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "1", "COURSEWORK_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "2,1"}, 2),
        ({"COURSEWORK_THREADS": "many"}, 1),
    ],
)
@pytest.mark.parametrize("first", ["torch, coursework", "coursework, torch"])
def test_one_thread_unless_asked_for_more_whatever_is_imported_first(
    first: str, environment: dict[str, str], threads: int
) -> None:
    unset = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "COURSEWORK_THREADS"}
    kept = {k: v for k, v in os.environ.items() if k not in unset}
    code = f"import {first}; print(torch.get_num_threads())"
    assert run(code, env=kept | environment) == str(threads)


HEAVY = {"torch", "pandas", "sklearn", "spacy", "pooch", "requests", "matplotlib", "torchvision"}
HELP = "sys.argv[1:] = ['--help']; from {} import app; app(standalone_mode=False)"


@pytest.mark.parametrize(
    "code",
    [
        HELP.format("coursework.cli"),
        HELP.format("coursework_tools.cli") + "; assert 'numpy' not in sys.modules",
        "import coursework.data, coursework.data.sources as s; s.status('mnist')",
        "from coursework_tools.publishing import headline; headline.condense()",
        "from coursework_tools.publishing import writeup as w; [*map(w.cut, w.listings(w.text()))]",
    ],
)
def test_what_has_to_stay_quick_imports_nothing_heavy(code: str) -> None:
    assert run(f"import sys; {code}; print({HEAVY} & {{*sys.modules}})").endswith("set()")
