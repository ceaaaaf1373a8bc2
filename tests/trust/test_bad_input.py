"""Bad input, one row a case: what is given, and the sentence (a part of it) that has to come.

Loaders, configs, command line, predict commands and checkpoints end in an error of the project's own.
Configs are reached as ``--set`` does it. Rows that are data alone are in ``bad_input.toml``.
"""

import gzip
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given import pages, written, zipped
from PIL import Image
from pydantic import TypeAdapter
from typer.testing import CliRunner

from coursework.data import eng_fra, m2nist, mnist, planetoid, text, wikipedia
from coursework.data.subwords import Subwords, learn
from coursework.errors import ConfigError, CourseworkError, DataError, ResultsError, TrainingError
from coursework.experiments import base, cora, segmentation, sentiment, translation
from coursework.experiments import wikipedia as traffic
from coursework.report import notebook, questions, store
from coursework.training import checkpoints, parallel
from coursework_tools import cli
from coursework_tools.publishing import headline

LISTED = tomllib.loads(Path(__file__).with_name("bad_input.toml").read_text("utf-8"))
Call = Callable[[Path], object]  # does what is bad, given an empty folder


def row(name: str, message: str, call: Call, error: type[Exception] = DataError) -> Any:
    return pytest.param(call, error, message, id=name[:70])


# ------------------------------------------------------------------------------------------- configs

FREE = {"alpha"}
"""Numbers that may be anything: the slope of the leaky ReLU."""


def config(experiment: str, message: str, *changes: str) -> Any:
    def call(_: Path) -> object:
        return base.override(base.preset_of(experiment, "quick"), changes)

    return row(f"{experiment} {' '.join(changes)}", message, call, ConfigError)


def outside(schema: dict[str, Any]) -> Iterator[str]:
    if "anyOf" in schema:  # the other kind is null
        (schema,) = (kind for kind in schema["anyOf"] if kind["type"] != "null")
    kind = schema["type"]
    if kind in ("integer", "number"):
        step = 1 if kind == "integer" else 1e-9
        bounds = {"minimum": -step, "exclusiveMinimum": 0, "maximum": step, "exclusiveMaximum": 0}
        for name, beyond in bounds.items():
            if name in schema:
                yield str(schema[name] + beyond)
        yield from ("two", "nan", *(["1.5"] if kind == "integer" else []))
        if "multipleOf" in schema:
            yield str(schema["multipleOf"] + 1)
    elif kind == "boolean":
        yield "perhaps"
    elif "enum" in schema:
        yield from ("no such value", schema["enum"][0] + "x")
    elif kind == "array":
        yield from outside(schema["items"])
        if schema.get("minItems"):
            yield ""


def fields(experiment: str) -> Iterator[tuple[str, dict[str, Any]]]:
    preset = base.preset_of(experiment, "quick")
    whole = TypeAdapter(type(preset)).json_schema()
    groups = whole.get("$defs", {})

    def walk(schema: dict[str, Any], value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, field in schema["properties"].items():
            group = next((one for one in [field, *field.get("anyOf", [])] if "$ref" in one), None)
            if group is None:
                yield path + name, field
            elif getattr(value, name) is not None:
                inner = groups[group["$ref"].rpartition("/")[2]]
                yield from walk(inner, getattr(value, name), f"{path}{name}.")

    return walk(groups.get(whole.get("$ref", "").rpartition("/")[2], whole), preset, "")


@pytest.mark.parametrize("experiment", base.TABLES)
def test_every_field_of_a_config_refuses_what_is_just_outside(experiment: str) -> None:
    preset = base.preset_of(experiment, "quick")
    tried = 0
    for key, schema in fields(experiment):
        if key.rpartition(".")[2] in FREE:
            continue
        if re.search('"(integer|number)"', json.dumps(schema)):
            assert re.search("[mM](in|ax)imum", json.dumps(schema)), f"{key} has no range"
        for value in outside(schema):
            tried += 1
            with pytest.raises(ConfigError) as caught:
                base.override(preset, [f"{key}={value}"])
            assert re.match(rf"{re.escape(key)}(\.0)? is .*; it should ", str(caught.value)), value
    assert tried > 10


# ------------------------------------------------------------------------------------------- loaders


def idx(name: str, raw: bytes) -> Any:
    def call(folder: Path) -> object:
        return mnist.read_idx(written(folder, "x.gz", gzip.compress(raw)))

    return row(f"idx {name}", "cannot be read", call)


def packed(folder: Path, members: dict[str, bytes]) -> Path:
    return written(folder, "a.zip", zipped(members))


def network(**changed: bytes) -> Any:
    def call(folder: Path) -> object:
        return wikipedia._read_archive(packed(folder, pages(**changed)), "chameleon")

    return row(f"pages {[*changed]}", "cannot be read", call)


HEAD, DIGIT, ONE = b"\x00\x00\x08", np.zeros((1, 28, 28), np.uint8), np.ones(1, np.uint8)
LOADERS = [
    row("idx no gzip", "cannot be read", lambda f: mnist.read_idx(written(f, "x", b"no"))),
    row("idx cut", "cannot be read",
        lambda f: mnist.read_idx(written(f, "x", gzip.compress(bytes(99))[:-9]))),
    idx("empty", b""),
    idx("of floats", b"\x00\x00\x0d\x01" + bytes(9)),
    idx("short", HEAD + b"\x01" + b"\x00\x00\x00\x05abc"),
    idx("long", HEAD + b"\x01" + b"\x00\x00\x00\x02abc"),
    idx("product overflows", HEAD + b"\x04" + b"\x00\x01\x00\x00" * 4),
    idx("255 dimensions", HEAD + b"\xff" + bytes(4 * 255)),
    row("pairs no zip", "cannot be read", lambda f: eng_fra._read(written(f, "a.zip", b"PK"))),
    row("pairs no member", "a part is missing", lambda f: eng_fra._read(packed(f, {"x": b""}))),
    row("pairs latin-1", "cannot be read",
        lambda f: eng_fra._read(packed(f, {eng_fra.MEMBER: "a\té".encode("latin-1")}))),
    network(edges_csv=b"id1,id2\n0,one\n"),
    network(features_json=b"[" * 99_999),
    row("no such graph", "There is no data set 'pubmed'",
        lambda _: planetoid.load("PubMed"), ConfigError),  # type: ignore[arg-type]
    row("no such pages", "There is no page network 'iguana'",
        lambda _: wikipedia.load("iguana"), ConfigError),  # type: ignore[arg-type]
    row("canvas smaller than a digit", "give at least 28x28 pixels and one digit",
        lambda _: m2nist.compose(DIGIT, ONE, 1, np.random.default_rng(0), height=20), ConfigError),
    row("a token twice", "names a token twice", lambda _: text.Vocabulary(("a", "a")), ConfigError),
    row("unknown token", "is not in the vocabulary, which has no <unk>",
        lambda _: text.Vocabulary(("a",), ())["b"]),
    row("id beyond the vocabulary", "ids from 9 to 9, but the vocabulary has those from 0 to 2",
        lambda _: text.Vocabulary(("a",)).decode([9])),
    row("negative id", "ids from -1 to -1", lambda _: text.Vocabulary(("a",)).decode([-1])),
    row("subwords of nothing", "no sentences to learn subwords from", lambda _: learn([" "], 20)),
    row("too few subwords", "is too small; take at least 16", lambda _: learn(["a"], 3), ConfigError),
    row("more subwords than there are", "cannot be learned",
        lambda _: learn(["The quick brown fox jumps over the lazy dog."], 17), ConfigError),
    row("no subword model", "cannot be read; train again", lambda _: Subwords(b"no"), TrainingError),
]  # fmt: skip

# ---------------------------------------------------------------- checkpoints, results, environment


def checkpoint(name: str, message: str, load: Call, state: Any) -> Any:
    def call(folder: Path) -> object:
        return load(checkpoints.save(state, folder / "best.pt"))

    return row(f"checkpoint {name}", message, call, TrainingError)


def untrained(folder: Path, network: torch.nn.Module, config: Any, **bundle: Any) -> Path:
    bundle = {"config": base.as_record(config)} | bundle
    return checkpoints.save({"model": network.state_dict(), "bundle": bundle}, folder / "best.pt")


def translator(folder: Path, **spoiled: Any) -> Path:
    small = base.override(base.preset_of("translation_all", "quick"), ["vocabulary=40", "beam=1"])
    pieces = learn(["elle est la", "she is here", "je suis", "i am"], 40)
    network = translation.build(small, "transformer", (len(pieces), len(pieces)))
    bundle = {"experiment": "translation", "model": "transformer", "languages": [pieces.stored()]}
    return untrained(folder, network, small, **bundle | {"widths": None} | spoiled)


def segmenter(folder: Path) -> Path:
    changes = ["down=2", "up=2", "bottleneck=2"]
    small = base.override(base.preset_of("segmentation", "quick"), changes)
    network = segmentation.build(small, True)
    return untrained(folder, network, small, experiment="segmentation", skip=True)


def results(name: str, message: str, content: bytes) -> Any:
    def call(folder: Path) -> object:
        return store.read("a", written(folder, "a.json", content).parent)

    return row(f"results {name}", message, call, ResultsError)


EMPTY: dict[str, Any] = {"model": {}, "bundle": {}}
HALF: dict[str, Any] = {"model": {}, "bundle": {"experiment": "translation", "config": {}}}
NONE = "is no checkpoint of this project"
FILES = [
    row("no checkpoint", "There is no checkpoint at .*x.pt; train first",
        lambda f: checkpoints.load(f / "x.pt"), TrainingError),
    row("checkpoint of text", f"{NONE}; name a best.pt",
        lambda f: checkpoints.load(written(f, "x.pt", b"hello")), TrainingError),
    checkpoint("that is a list", NONE, checkpoints.load, [1]),
    checkpoint("sentiment empty", NONE, sentiment.load, EMPTY),
    checkpoint("translation empty", NONE, translation.load, EMPTY),
    checkpoint("translation half", "version of the translation", translation.load, HALF),
    checkpoint("cora empty", NONE, cora.evaluate, EMPTY),
    checkpoint("wikipedia of a list", NONE, traffic.evaluate, {"bundle": [1]}),
    row("translator without subwords", "does not fit this version of the translation",
        lambda f: translation.load(translator(f, languages=[torch.zeros(3)])), TrainingError),
    row("beam of a translator", "The beam is 65; take a width from 1 to 64",
        lambda f: translation.load(translator(f))(["oui"], 65), ConfigError),
    row("number to translate", "A sentence must be text, not int",
        lambda f: translation.load(translator(f))([3])),  # type: ignore[list-item]
    results("text", "cannot be read as JSON", b"no"),
    results("deep", "cannot be read as JSON", b"[" * 99_999),
    results("list", "no result: the record", b"[]"),
    results("empty", "Field required", b"{}"),
    row("no result", "available: none", lambda f: store.read("x", f), ResultsError),
    row("no runs", "There is no run to record", lambda _: store.make_record("x", []), ResultsError),
    row("headline of a broken result", "cannot be read as JSON",
        lambda f: headline.condense(written(f, "bench.json", b"{").parent), ResultsError),
    row("no notebook", "There is no notebook '7'", lambda _: questions.select(["7"]), ConfigError),
    row("no answers", "left no answers", lambda f: notebook.read("nobody"), ResultsError),
    row("backend", "backend is 'pvm'; choose from loky, dask",
        lambda _: [*parallel.map_seeds(abs, [1], 1, backend="pvm")], ConfigError),  # type: ignore[arg-type]
    row("no experiment", "There is no experiment 'poetry'", lambda _: base.get("poetry"), ConfigError),
    row("no preset", "has no preset 'huge'", lambda _: base.preset_of("cora", "huge"), ConfigError),
]  # fmt: skip


# -------------------------------------------------------------------------------------- command line


class Said(Exception):
    """What the command line printed when it ended with the expected code."""


def command(code: int, message: str, *arguments: str | Callable[[Path], Path]) -> Any:
    def call(folder: Path) -> object:
        made = [str(a(folder)) if callable(a) else a for a in arguments]
        result = CliRunner().invoke(cli.app, made)
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert "Traceback" not in result.output
        assert result.exit_code == code, result.output
        raise Said(re.sub(r"[\s│╭╮╰╯─]+", " ", result.output))

    shown = [a if isinstance(a, str) else "FILE" for a in arguments]
    return row(f"({message}) {' '.join(shown)}", message, call, Said)


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    return lambda folder: written(folder, name, content)


def image(folder: Path) -> Path:
    Image.fromarray(DIGIT[0]).save(folder / "grey.png")
    return folder / "grey.png"


def array(folder: Path) -> Path:
    np.save(folder / "array.npy", np.zeros((2, 2, 2, 2)))
    return folder / "array.npy"


SEGMENT = ("predict", "segment")
COMMANDS = [
    *(command(*one) for one in LISTED["commands"]),
    command(2, "Invalid value for '--seed'", "train", "cora", "--seed", str(2**70)),
    command(1, "is damaged: cut off", "evaluate", "cora", "--checkpoint", file("c.pt", b"PK")),
    command(1, "is empty; write one text per line", "predict", "sentiment", "--file", file("e", b" \n")),
    command(1, "cannot be read", "predict", "translate", "--file", lambda folder: folder),
    command(1, "is no checkpoint of this", "predict", "sentiment", "hi", "--checkpoint", file("c", b"no")),
    command(2, "The beam is 0; take a width from 1 to 64", "predict", "translate", "oui", "--beam", "0",
            "--checkpoint", translator),
    command(1, "There is no file", *SEGMENT, lambda folder: folder),
    command(1, "neither an image nor an array", *SEGMENT, file("t.png", b"hello")),
    command(1, "has shape", *SEGMENT, array, "--checkpoint", segmenter),
    command(2, "mask.xyz is not the name of a picture", *SEGMENT, image, "--output", "mask.xyz",
            "--checkpoint", segmenter),
    command(1, "No such file or directory", *SEGMENT, image, "--output", "no/where.png",
            "--checkpoint", segmenter),
    command(2, "Put -- before a text that begins with a dash", "predict", "sentiment", "-_- so tired"),
    command(1, "belongs to translation, not to segmentation", *SEGMENT, image, "--checkpoint", translator),
]  # fmt: skip

CONFIGS = [config(*one) for one in LISTED["configs"]]


@pytest.mark.parametrize(("call", "error", "message"), [*CONFIGS, *LOADERS, *FILES, *COMMANDS])
def test_bad_input_ends_in_one_clear_sentence(
    call: Call, error: type[Exception], message: str,
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "given"
    folder.mkdir()
    with pytest.raises(error) as caught:
        call(folder)
    assert re.search(message, str(caught.value)), str(caught.value)
    if error is not Said:
        assert isinstance(caught.value, CourseworkError)
        assert "\n" not in str(caught.value).strip()
