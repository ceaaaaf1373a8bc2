"""What the trust tests are given: small experiments, environments of fresh processes, archives.

The small experiments are ``quick`` with smaller numbers, so that they can be killed and run again many
times. Everything runs on stand-in data, loads, splits, trains all kinds of networks that it has, and tests.
"""

import io
import os
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from coursework.experiments import base

HERE = Path(__file__).parent
SMALL: dict[str, list[str]] = tomllib.loads((HERE / "small.toml").read_text(encoding="utf-8"))
SMALL["translation_ensemble"] = SMALL["translation"]
WITHOUT_CHECKPOINTS = {"tweets"}  # trains nothing that is worth one: interrupted, it begins anew
WITHOUT_STANDIN = {"minilm"}  # their own tests run them on a model that they make


def config_of(experiment: str, *more: str) -> Any:
    return base.override(base.preset_of(experiment, "quick"), [*SMALL[experiment], *more])


def environment(threads: int = 1, hash_seed: str = "0", **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COURSEWORK_")}
    kept |= {"COURSEWORK_OFFLINE": "1", "COURSEWORK_PROGRESS": "0"}
    return kept | {"OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": hash_seed} | more


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


PAGES = {
    "edges.csv": b"id1,id2\n0,1\n",
    "target.csv": b"id,target\n0,10\n1,20\n",
    "features.json": b'{"0": [1], "1": []}',
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def pages(**changed: bytes) -> dict[str, bytes]:
    members = PAGES | {name.replace("_", "."): content for name, content in changed.items()}
    return {f"wikipedia/chameleon/musae_chameleon_{k}": v for k, v in members.items()}
