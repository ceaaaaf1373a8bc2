"""Everything that the environment decides, read in this one place.

=====================  ==========================================================  ====================
variable               meaning                                                     default
=====================  ==========================================================  ====================
COURSEWORK_DATA        folder with the raw data sets, never written to             none
COURSEWORK_CACHE       folder for downloads, parsed forms and runs                 ``data/cache``
COURSEWORK_OFFLINE     1: try no download                                          0
COURSEWORK_PRESET      ``quick`` or ``full``: which preset notebooks train         ``quick``
COURSEWORK_PROGRESS    0: no progress bars                                         1
COURSEWORK_BUILD       folder for executed notebooks, figures and answers          ``build``
COURSEWORK_FIGURES     folder that figures are written to                          ``build/figures``
COURSEWORK_THREADS     threads of one computation                                  1
=====================  ==========================================================  ====================
"""

import os
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Literal

from coursework.errors import ConfigError, DataError

Preset = Literal["quick", "full"]
PRESETS: tuple[Preset, ...] = ("quick", "full")


def _flag(name: str, default: str) -> bool:
    value = os.environ.get(name, "").strip() or default
    found = RawConfigParser.BOOLEAN_STATES.get(value.lower())  # 1, yes, true, on
    if found is None:
        raise ConfigError(f"{name} is {value!r}; set it to 1 or 0.")
    return found


def limit_threads() -> None:
    """Let torch and the libraries below it compute with ``COURSEWORK_THREADS`` threads, one by default:
    several threads that share cores with other programs wait for each other (measured: 11 times slower)."""
    given = os.environ.get("COURSEWORK_THREADS") or os.environ.get("OMP_NUM_THREADS") or "1"
    value = given.partition(",")[0].strip()  # OpenMP takes a list, one for each level
    if not value.isdecimal() or int(value) < 1:  # the package is being imported: no error yet
        print(f"The number of threads is {given!r}, not 1 or more; taking one.", file=sys.stderr)
        value = "1"
    for name in ("OMP", "OPENBLAS", "MKL", "RAYON"):  # the last one: tokenizers
        os.environ[f"{name}_NUM_THREADS"] = value  # read when the library is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if torch := sys.modules.get("torch"):  # loaded before us, in a notebook say
        torch.set_num_threads(int(value))


def repo_root() -> Path:
    """Root of the checkout; outside a checkout (installed as a wheel) the working folder."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def _folder(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else default


def data_root() -> Path | None:
    if not (value := os.environ.get("COURSEWORK_DATA")):
        return None
    root = Path(value).expanduser().resolve()
    if not root.is_dir():
        remedy = "set it to the folder that holds the data sets, or unset it"
        raise DataError(f"COURSEWORK_DATA is set to {value!r}, which is not a folder; {remedy}.")
    return root


def cache_dir() -> Path:
    return _folder("COURSEWORK_CACHE", repo_root() / "data" / "cache")


def offline() -> bool:
    return _flag("COURSEWORK_OFFLINE", "0")


def progress() -> bool:
    return _flag("COURSEWORK_PROGRESS", "1")


def preset() -> Preset:
    value = os.environ.get("COURSEWORK_PRESET", "").strip().lower() or "quick"
    if value not in PRESETS:
        raise ConfigError(f"COURSEWORK_PRESET is {value!r}; set it to quick or full.")
    return value


def build_dir() -> Path:
    return _folder("COURSEWORK_BUILD", repo_root() / "build")


def figures_dir() -> Path:
    return _folder("COURSEWORK_FIGURES", build_dir() / "figures")


def answers_dir() -> Path:
    """Where each notebook leaves its answer sheet, read by ``coursework run``."""
    return build_dir() / "answers"


def results_dir() -> Path:
    return repo_root() / "writeup" / "results"  # committed


def checkpoints_dir() -> Path:
    return repo_root() / "data" / "checkpoints"  # committed: small ones that are worth keeping


def runs_dir() -> Path:
    return cache_dir() / "runs"
