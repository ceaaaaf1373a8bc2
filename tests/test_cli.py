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
from PIL import Image
from typer.testing import CliRunner

from coursework import console, settings
from coursework.config import Count, as_record, config, override
from coursework.data import sentiment140
from coursework.data.sources import Source
from coursework.data.text import read_lines
from coursework.errors import ConfigError, DataError
from coursework.experiments import base, segmentation
from coursework.report import store
from coursework.training import checkpoints
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


def test_no_trained_model_says_what_to_do(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "checkpoints_dir", lambda: tmp_path)
    result = call("predict", "sentiment", "what a day")
    assert result.code == 1
    assert "There is no trained model yet; run `coursework train sentiment` first" in result.out


def test_data_status_and_fetch_offline(standin: Path) -> None:
    status = call("data", "status")
    assert (status.code, "STAND-IN" in status.out) == (0, True)
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
    hidden: Count = 4


@pytest.fixture
def official(standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(settings, "results_dir", lambda: tmp_path / "official")
    monkeypatch.setattr(settings, "build_dir", lambda: tmp_path / "build")
    return tmp_path / "official"


@pytest.fixture
def fake(official: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: Any = ModuleType("coursework.experiments.cora")
    module.PRESETS = {name: Config() for name in ("quick", "quick-pretrained")}
    module.PRESETS["full"] = Config(hidden=8)
    module.kind, module.raises = "data root", None

    def train(job: base.Job) -> base.Run:
        if module.raises:
            raise module.raises
        source = Source("cora", module.kind, "00" * 32, (), "free")
        return job.run({"gcn.test_accuracy": 0.5 + job.seed / 10}, source)

    module.train, module.evaluate = train, lambda path: {"test_accuracy": 0.5}
    monkeypatch.setitem(sys.modules, "coursework.experiments.cora", module)
    return module


def recorded(folder: Path, preset: str = "full") -> Any:
    return json.loads((folder / f"cora-{preset}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "kind", "is_result"),
    [
        (("--preset", "full", "--seeds", "2"), "data root", True),
        (("--preset", "quick"), "data root", False),
        (("--preset", "quick-pretrained"), "data root", False),
        (("--preset", "full", "--set", "hidden=5"), "data root", False),
        (("--preset", "full"), "stand-in", False),
    ],
)
def test_only_unchanged_presets_on_real_data_become_results(
    fake: Any, official: Path, arguments: tuple[str, ...], kind: str, is_result: bool
) -> None:
    fake.kind = kind
    result = call("train", "cora", *arguments)
    assert result.code == 0, result.out
    folder = official if is_result else settings.build_dir() / "results"
    assert recorded(folder, arguments[1])["seeds"] == ([0, 1] if "--seeds" in arguments else [0])
    assert official.exists() == is_result


def test_a_record_counts_how_often_its_test_part_was_opened(fake: Any, official: Path) -> None:
    for looks in (1, 2):
        call("train", "cora", "--preset", "full")
        assert recorded(official)["notes"]["test_looks"] == looks
    call("train", "cora", "--preset", "full", "--set", "hidden=5")  # not recorded, but looked at
    for fake.kind in ("stand-in", "data root"):  # generated data are no test part
        call("train", "cora", "--preset", "full")
    record = recorded(official)
    assert record["notes"].pop("test_looks") == 4
    # as it was recorded before there was a count
    (official / "cora-full.json").write_text(json.dumps(record), encoding="utf-8")
    (settings.build_dir() / "results" / "cora-full.json").unlink()
    assert [store.looks(name) for name in ("cora-full", "cora-best")] == [1, 0]


def test_a_record_is_replaced_by_one_of_all_its_seeds_only(fake: Any, official: Path) -> None:
    def seeds_after(*options: str, stays: bool = False) -> list[int]:
        result = call("train", "cora", "--preset", "full", *options)
        assert ("stays as it is" in result.out) == stays
        return recorded(official)["seeds"]

    assert seeds_after("--seeds", "2") == [0, 1]
    assert seeds_after("--seeds", "1", stays=True) == [0, 1]
    assert seeds_after("--seed", "5", "--seeds", "2", stays=True) == [0, 1]
    assert seeds_after("--seeds", "3") == [0, 1, 2]
    assert seeds_after("--seeds", "1", "--overwrite") == [0]


def test_a_record_is_not_replaced_by_another_experiment(fake: Any, official: Path) -> None:
    call("train", "cora", "--preset", "full")
    before = recorded(official)
    changed = ("train", "cora", "--preset", "full", "--set", "hidden=5", "--record", "cora-full")
    assert "recorded from another experiment or config and stays" in call(*changed).out
    assert recorded(official) == before
    fake.PRESETS["other"] = Config(hidden=5)
    call("train", "cora", "--preset", "other", "--record", "cora-full")
    assert recorded(official) == before
    store.write(before | {"experiment": "wikipedia", "name": "a"}, official)
    assert "stays as it is" in call("train", "cora", "--preset", "full", "--record", "a").out
    assert call(*changed, "--overwrite").code == 0
    assert recorded(official)["config"] == {"hidden": 5}
    result = call(*changed[:-1], "headline")
    assert (result.code, "but not 'headline'" in result.out) == (2, True)


def test_a_result_is_printed_before_it_is_written(fake: Any, official: Path) -> None:
    official.write_text("no folder", encoding="utf-8")
    result = call("train", "cora", "--preset", "full")
    assert (result.code, "0.5000" in result.out) == (1, True)
    official.unlink()
    fake.train = lambda job: job.run({"loss": float("nan")}, Source("cora", "x", "0", (), ""))
    assert "loss is nan; it cannot be recorded" in call("train", "cora").out


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; a training goes on"),
        (OSError(28, "No space left on device", "x.pt"), 1, "No space left on device (x.pt)"),
        (ConfigError("hidden is -1; it must be positive."), 2, "hidden is -1"),
    ],
)
def test_interruption_and_full_disk_end_in_a_sentence(
    fake: Any, raised: BaseException, code: int, message: str
) -> None:
    fake.raises = raised
    result = call("train", "cora")
    assert result.code == code
    assert message in result.out


def test_evaluate_prints_the_metrics_or_those_on_hand_labelled_tweets(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best.pt").write_bytes(b"")
    result = call("evaluate", "cora", "--checkpoint", str(tmp_path / "best.pt"))
    assert (result.code, "0.5000" in result.out) == (0, True)
    assert "Only models of sentiment" in call("evaluate", "cora", "--hand-labelled").out
    said = call("evaluate", "sentiment", "--hand-labelled")
    assert said.code == 1
    assert "The hand-labelled tweets are not available; put testdata" in said.out
    tweets = ["I love this great day", "so sad and sick, I hate it"] * 5, np.array([1, 0] * 5)
    monkeypatch.setattr(sentiment140, "hand_labelled", lambda: tweets)
    said = call("evaluate", "sentiment", "--hand-labelled")
    assert "hand_labelled_accuracy 1.0000 low 0.72" in said.out


def test_report_check() -> None:
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
        (b"old\rMac\r", ["old", "Mac"]),
    ],
)
def test_a_file_of_tweets_in_any_encoding(raw: bytes, texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "tweets.txt"
    file.write_bytes(raw)
    said: list[str] = []
    assert read_lines(file, said.append) == texts
    assert bool(said) == (b"sch\xf6n" in raw or b"\x81" in raw)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"good\0\0")
    with pytest.raises(DataError, match="holds zero bytes"):
        read_lines(tmp_path / "a.bin", print)


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    sizes = ["down=4,4", "bottleneck=4", "up=4,4", "skips=true"]
    small = override(segmentation.PRESETS["quick"], sizes)
    bundle = {"experiment": "segmentation", "config": as_record(small), "skip": True}
    model = segmentation.build(small, skip=True).state_dict()
    return checkpoints.save({"model": model, "bundle": bundle}, tmp_path / "best.pt")


@pytest.mark.parametrize("size", [(64, 84), (31, 50, 3), (1, 1, 4)])
def test_segment_writes_mask_and_overlay(
    tmp_path: Path, segmenter: Path, size: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "page.png")
    np.save(tmp_path / "array.npy", pixels)
    for name in ("page.png", "array.npy"):
        result = call("predict", "segment", str(tmp_path / name), "--checkpoint", str(segmenter))
        assert result.code == 0, result.out
        assert "digits: " in result.out
        assert "Warning: The background is not dark" in result.out  # it is noise, or a clear pixel
        stem = tmp_path / name.split(".")[0]
        for kind in ("mask", "overlay"):
            with Image.open(f"{stem}_{kind}.png") as picture:
                assert (picture.size, picture.mode) == ((size[1], size[0]), "RGB")
    found, page = tmp_path / "found.jpg", str(tmp_path / "page.png")
    options = ("--checkpoint", str(segmenter), "--output", str(found), "--invert")
    assert call("predict", "segment", page, *options).code == 0
    assert found.is_file()
    assert found.with_name("found_overlay.jpg").is_file()
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
    answers = [answer for _, answer in found[:4]]
    assert answers == ["positive", "negative", "no known word", "positive"]
    assert call("predict", "sentiment", "--file", str(file), "hello").code == 2
    explained = call("predict", "sentiment", "--explain", "see you tomorrow :(", "zxqv").out
    parts = r"negative +see you tomorrow :\(\s+\(start\) .*tomorrow .*:\( -4\.00\s"
    assert re.search(parts, explained)
    assert re.search(r"no known word +zxqv\s*$", explained)
