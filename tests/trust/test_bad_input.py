"""Bad input, one row a case: what is given, and the sentence (a part of it) that has to come.

Loaders, configs, command line, predict commands and checkpoints end in an error of the project's own.
Configs are reached as ``--set`` does it.
"""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from archives import pages, zipped
from PIL import Image
from pydantic import TypeAdapter
from typer.testing import CliRunner

from coursework.data import (
    eng_fra,
    m2nist,
    mnist,
    planetoid,
    text,
    wikipedia,
)  # fmt: skip
from coursework.data.subwords import Subwords, learn
from coursework.errors import ConfigError, CourseworkError, DataError, ResultsError, TrainingError
from coursework.experiments import (
    base,
    cora,
    segmentation,
    sentiment,
    translation,
)
from coursework.experiments import wikipedia as traffic
from coursework.report import notebook, questions, store
from coursework.training import checkpoints, parallel
from coursework_tools import cli
from coursework_tools.publishing import headline

Call = Callable[[Path], object]


@dataclass(frozen=True)
class Row:
    """A case."""

    name: str  # what is bad
    call: Call  # does it, given an empty folder
    error: type[Exception]  # what has to be raised
    message: str  # a regular expression that has to be found in it


class Said(Exception):
    """What the command line printed when it ended with the expected code."""


# ------------------------------------------------------------------------------------------- configs


def config(experiment: str, assignment: str, message: str) -> Row:
    return Row(
        f"{experiment} {assignment}",
        lambda _: base.override(base.preset_of(experiment, "quick"), assignment.split(";")),
        ConfigError,
        message,
    )


CONFIGS = [
    config("sentiment", "plan=fast", "plan is a group of keys; set one of plan.epochs"),
    config("sentiment", "plan.speed=1", "There is no key 'plan.speed'; choose from epochs"),
    config("sentiment", "tweets.half=1", "There is no key 'tweets.half'; choose from tweets"),
    config("sentiment", "tweets", "--set takes key=value, not 'tweets'"),
    config("sentiment", "", "--set takes key=value, not ''"),
    config("sentiment_study", "variants=base,magic", "There is no variant 'magic'; choose from"),
    config("sentiment_study", "variants=two layers", "needs 'base' as well"),
    config("translation_all", "transformer=none", "train at least one of them"),
    config("translation", "transformer.width=65", "width is 65, no multiple of heads, 2"),
    config("translation", "corpus=all", "All pairs train one network"),
    config("wikipedia", "plan.precision=bf16-mixed", "plan.precision must be 32-true"),
    config("wikipedia_study", "variants=", "variants is empty; name at least one"),
    config("wikipedia_study", "variants=mean alone", "so it needs 'graph network' as well"),
    config("translation", "rnn=none;transformer=none", "both none"),
    config("large_graph", "parts=5000", "parts"),
    config("large_graph", "hidden=30", "hidden"),
    config("cora", "models=gcn,gcn", "one twice"),
    config("cora", "gat.heads=3", "not a multiple of gat.heads, 3"),
    config("cora", "gcn.plan.monitor=validation_accuracy", "no validation nodes"),
    config("cora", "protocol=planetoid;validation_nodes=5", "belongs to random140"),
    config("cora", "protocol=planetoid;watch=2", "for random140"),
    config("cora", "validation_nodes=5;epochs_long=9", "for random140"),
    config("cora_study", "heads=7", "multiple"),
    config("segmentation", "skips=true,true", "give true, false, or both"),
    config("segmentation", "down=4,8,16,32,64", "the same number of levels"),
]
FREE = {"alpha"}
"""Numbers that may be anything: the slope of the leaky ReLU."""


def outside(schema: dict[str, Any]) -> Iterator[str]:
    """Values just outside of what the JSON schema of a field allows, as ``--set`` reads them."""
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
    """Keys of an experiment's config and their JSON schemas; of the groups that its preset has."""
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


@pytest.mark.parametrize("experiment", base.EXPERIMENTS)
def test_every_field_of_a_config_refuses_what_is_just_outside(experiment: str) -> None:
    """Read from the annotations, so that a new field is tried too; and each number has a range."""
    preset = base.preset_of(experiment, "quick")
    tried = 0
    for key, schema in fields(experiment):
        name = key.rpartition(".")[2]
        text = json.dumps(schema)
        if re.search('"(integer|number)"', text) and name not in FREE:
            assert re.search("[mM](in|ax)imum", text), f"{key} has no range"
        for value in outside(schema) if name not in FREE else ():
            tried += 1
            with pytest.raises(ConfigError) as caught:
                base.override(preset, [f"{key}={value}"])
            assert re.match(rf"{re.escape(key)}(\.0)? is .*; it should ", str(caught.value)), value
    assert tried > 10


# ------------------------------------------------------------------------------------------- loaders


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def loader(name: str, message: str, call: Call, error: type[Exception] = DataError) -> Row:
    return Row(name, call, error, message)


def idx(message: str, raw: bytes, name: str) -> Row:
    return loader(
        f"idx {name}", message, lambda f: mnist.read_idx(written(f, "x.gz", gzip.compress(raw)))
    )


def packed(folder: Path, members: dict[str, bytes]) -> Path:
    return written(folder, "a.zip", zipped(members))


def network(message: str, part: str, content: bytes) -> Row:
    def call(folder: Path) -> object:
        members = pages(**{part.replace(".", "_"): content})
        return wikipedia._read_archive(packed(folder, members), "chameleon")

    return loader(f"pages {part} {content[-30:]!r}", message, call)


HEAD = b"\x00\x00\x08"
LOADERS = [
    loader("idx no gzip", "cannot be read", lambda f: mnist.read_idx(written(f, "x", b"no"))),
    loader(
        "idx cut", "cannot be read",
        lambda f: mnist.read_idx(written(f, "x", gzip.compress(bytes(99))[:-9])),
    ),
    idx("cannot be read", b"", "empty"),
    idx("cannot be read", b"\x00\x00\x0d\x01" + bytes(9), "of floats"),
    idx("cannot be read", HEAD + b"\x01" + b"\x00\x00\x00\x05abc", "short"),
    idx("cannot be read", HEAD + b"\x01" + b"\x00\x00\x00\x02abc", "long"),
    idx("cannot be read", HEAD + b"\x04" + b"\x00\x01\x00\x00" * 4, "product overflows"),
    idx("cannot be read", HEAD + b"\xff" + bytes(4 * 255), "255 dimensions"),
    loader("digits wrong size", "instead of",
           lambda _: mnist.validate(np.zeros((1, 20, 20), np.uint8), np.zeros(1, np.uint8), "MNIST")),
    loader("digits label", "has the label 12 beyond 9",
           lambda _: mnist.validate(np.zeros((1, 28, 28), np.uint8), np.full(1, 12, np.uint8), "M")),
    loader("pairs no zip", "cannot be read", lambda f: eng_fra._read(written(f, "a.zip", b"PK"))),
    loader("pairs no member", "a part is missing", lambda f: eng_fra._read(packed(f, {"x": b""}))),
    loader("pairs latin-1", "cannot be read",
           lambda f: eng_fra._read(packed(f, {eng_fra.MEMBER: "a\té".encode("latin-1")}))),
    network("has the columns", "edges.csv", b"from,to\n0,1\n"),
    network("two whole numbers a row", "edges.csv", b"id1,id2\n0,99999999999999999999\n"),
    network("again", "edges.csv", b"id1,id2\n0,1,2\n"),
    network("again", "edges.csv", b"id1,id2\n0,one\n"),
    network("out of range", "edges.csv", b"id1,id2\n0,2\n"),
    network("lists no edges", "edges.csv", b"id1,id2\n"),
    network("out of range", "target.csv", b"id,target\n0,10\n1,-20\n"),
    network("does not number the pages", "target.csv", b"id,target\n1,10\n0,20\n"),
    network("cannot be read", "features.json", b'{"0": [1'),
    network("cannot be read", "features.json", b"[" * 99_999),
    network("not the nouns of each page", "features.json", b"[1, 2]"),
    network("not the nouns of each page", "features.json", b'{"0": 3, "1": []}'),
    network("not the nouns of each page", "features.json", b'{"0": ["a"], "1": []}'),
    network("not the nouns of each page", "features.json", b'{"0": [-1], "1": []}'),
    network("does not number the pages", "features.json", b'{"0": [1], "one": []}'),
    loader("pickle that is empty", "cannot be read",
           lambda f: planetoid._unpickle(written(f, "x", b""))),
    loader("pickle with an empty stack", "cannot be read",
           lambda f: planetoid._unpickle(written(f, "x", b"\x80\x02s."))),
    loader("no such graph", "There is no citation graph 'PubMed'",
           lambda _: planetoid.load("PubMed"), ConfigError),  # type: ignore[arg-type]
    loader("no such pages", "There is no page network 'iguana'",
           lambda _: wikipedia.load("iguana"), ConfigError),  # type: ignore[arg-type]
    loader("canvas smaller than a digit", "give at least 28x28 pixels and one digit",
           lambda _: m2nist.compose(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8), 1,
                                    np.random.default_rng(0), height=20), ConfigError),
    loader("a token twice", "names a token twice", lambda _: text.Vocabulary(("a", "a")), ConfigError),
    loader("unknown token", "is not in the vocabulary, which has no <unk>",
           lambda _: text.Vocabulary(("a",), ())["b"]),
    loader("id beyond the vocabulary", "ids from 9 to 9, but the vocabulary has those from 0 to 2",
           lambda _: text.Vocabulary(("a",)).decode([9])),
    loader("negative id", "ids from -1 to -1", lambda _: text.Vocabulary(("a",)).decode([-1])),
    loader("half a character", "not a string of whole characters",
           lambda _: text.tokenise_many(["\ud83d"])),
    loader("a number among texts", "not a string of whole characters",
           lambda _: text.tokenise_many(["a", 3])),  # type: ignore[list-item]
    loader("subwords of nothing", "no sentences to learn subwords from", lambda _: learn([" "], 20)),
    loader("too few subwords", "is too small; take at least 16", lambda _: learn(["a"], 3), ConfigError),
    loader("more subwords than there are", "cannot be learned",
           lambda _: learn(["The quick brown fox jumps over the lazy dog."], 17), ConfigError),
    loader("no subword model", "cannot be read; train again", lambda _: Subwords(b"no"), TrainingError),
]  # fmt: skip

# ---------------------------------------------------------------- checkpoints, results, environment


def checkpoint(name: str, message: str, load: Callable[[Path], object], state: Any) -> Row:
    return Row(
        f"checkpoint {name}",
        lambda f: load(checkpoints.save(state, f / "best.pt")),
        TrainingError,
        message,
    )


def trained_translator(folder: Path, **spoiled: Any) -> Path:
    """A checkpoint of all pairs that was never trained."""
    small = base.override(base.preset_of("translation_all", "quick"), ["vocabulary=40", "beam=1"])
    pieces = learn(["elle est la", "she is here", "je suis", "i am"], 40)
    network = translation.build(small, "transformer", (len(pieces), len(pieces)))
    bundle = {
        "experiment": "translation", "model": "transformer", "config": base.as_record(small),
        "languages": [pieces.to_tensor()], "widths": None,
    }  # fmt: skip
    state = {"model": network.state_dict(), "bundle": bundle | spoiled}
    return checkpoints.save(state, folder / "translator.pt")


def trained_segmenter(folder: Path) -> Path:
    """A segmentation checkpoint that was never trained."""
    small = base.override(
        base.preset_of("segmentation", "quick"), ["down=2", "up=2", "bottleneck=2"]
    )
    bundle = {"experiment": "segmentation", "config": base.as_record(small), "skip": True}
    network = segmentation.build(small, True)
    return checkpoints.save({"model": network.state_dict(), "bundle": bundle}, folder / "unet.pt")


def results(name: str, message: str, content: bytes) -> Row:
    return Row(
        f"results {name}",
        lambda f: store.read("a", written(f, "a.json", content).parent),
        ResultsError,
        message,
    )


EMPTY: dict[str, Any] = {"model": {}, "bundle": {}}
FOREIGN: dict[str, Any] = {"model": {}, "bundle": {"experiment": "cora"}}
HALF: dict[str, Any] = {"model": {}, "bundle": {"experiment": "translation", "config": {}}}
FILES = [
    Row("no checkpoint", lambda f: checkpoints.load(f / "x.pt"), TrainingError,
        "There is no checkpoint at .*x.pt; train first"),
    Row("checkpoint of text", lambda f: checkpoints.load(written(f, "x.pt", b"hello")), TrainingError,
        "is no checkpoint of this project; name a best.pt"),
    Row("checkpoint that is a list", lambda f: checkpoints.load(checkpoints.save([1], f / "x.pt")),  # type: ignore[arg-type]
        TrainingError, "is no checkpoint of this project"),
    checkpoint("sentiment empty", "is no checkpoint of this project", sentiment.load, EMPTY),
    checkpoint("translation empty", "is no checkpoint of this project", translation.load, EMPTY),
    checkpoint("translation half", "version of the translation", translation.load, HALF),
    checkpoint("translation foreign", "belongs to cora", translation.load, FOREIGN),
    checkpoint("segmentation foreign", "belongs to cora, not to", segmentation.load, FOREIGN),
    checkpoint("cora empty", "is no checkpoint of this project", cora.evaluate, EMPTY),
    checkpoint("wikipedia of a list", "is no checkpoint of this project", traffic.evaluate, {"bundle": [1]}),
    Row("translator without subwords",
        lambda f: translation.load(trained_translator(f, languages=[torch.zeros(3)])),
        TrainingError, "does not fit this version of the translation"),
    Row("beam of a translator", lambda f: translation.predict(["oui"], trained_translator(f), 65),
        ConfigError, "The beam is 65; take a width from 1 to 64"),
    Row("number to translate", lambda f: translation.predict([3], trained_translator(f)),  # type: ignore[list-item]
        DataError, "A sentence must be text, not int"),
    results("text", "cannot be read as JSON", b"no"),
    results("deep", "cannot be read as JSON", b"[" * 99_999),
    results("list", "no result: the record", b"[]"),
    results("empty", "Field required", b"{}"),
    Row("no result", lambda f: store.read("x", f), ResultsError, "available: none"),
    Row("no runs", lambda _: store.make_record("x", []), ResultsError, "There is no run to record"),
    Row("headline of a broken result",
        lambda f: headline.condense(written(f, "bench.json", b"{").parent), ResultsError,
        "cannot be read as JSON"),
    Row("no notebook", lambda _: questions.select(["7"]), ConfigError, "There is no notebook '7'"),
    Row("no answers", lambda f: notebook.read("6_theory", f), ResultsError, "left no answers"),
    Row("backend", lambda _: [*parallel.map_seeds(abs, [1], 1, backend="pvm")],  # type: ignore[arg-type]
        ConfigError, "backend is 'pvm'; choose from loky, dask"),
    Row("no experiment", lambda _: base.get("poetry"), ConfigError, "There is no experiment 'poetry'"),
    Row("no preset", lambda _: base.preset_of("cora", "huge"), ConfigError, "has no preset 'huge'"),
]  # fmt: skip


# -------------------------------------------------------------------------------------- command line


def command(code: int, message: str, *arguments: str | Callable[[Path], Path]) -> Row:
    """Arguments that are functions make a file and name it."""

    def call(folder: Path) -> object:
        made = [str(a(folder)) if callable(a) else a for a in arguments]
        result = CliRunner().invoke(cli.app, made)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        assert "Traceback" not in result.output
        assert result.exit_code == code, result.output
        raise Said(re.sub(r"[\s│╭╮╰╯─]+", " ", result.output))

    shown = [a if isinstance(a, str) else "FILE" for a in arguments]
    return Row(f"({message}) {' '.join(shown)}", call, Said, message)


def image(name: str, make: Callable[[Any], object]) -> Callable[[Path], Path]:
    def call(folder: Path) -> Path:
        make(folder / name)
        return folder / name

    return call


PNG = image("grey.png", Image.fromarray(np.zeros((8, 8), np.uint8)).save)


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    return lambda folder: written(folder, name, content)


LISTED = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))
COMMANDS = [
    *(command(*row) for row in LISTED["rows"]),
    command(2, "Invalid value for '--seed'", "train", "cora", "--seed", str(2**70)),
    command(1, "is damaged: cut off", "evaluate", "cora", "--checkpoint", file("c.pt", b"PK")),
    command(1, "is empty; write one text per line", "predict", "sentiment", "--file", file("e", b" \n")),
    command(1, "cannot be read", "predict", "translate", "--file", lambda folder: folder),
    command(1, "is no checkpoint of this", "predict", "sentiment", "hi", "--checkpoint", file("c", b"no")),
    command(2, "The beam is 0; take a width from 1 to 64", "predict", "translate", "oui", "--beam", "0",
            "--checkpoint", trained_translator),
    command(1, "belongs to", "predict", "translate", "oui", "--checkpoint",
            trained_segmenter),
    command(1, "There is no file", "predict", "segment", lambda folder: folder),
    command(1, "neither an image nor an array", "predict", "segment", file("t.png", b"hello")),
    command(1, "has shape", "predict", "segment",
            image("array.npy", lambda b: np.save(b, np.zeros((2, 2, 2, 2)))),
            "--checkpoint", trained_segmenter),
    command(2, "mask.xyz is not the name of a picture", "predict", "segment", PNG,
            "--output", "mask.xyz", "--checkpoint", trained_segmenter),
    command(1, "No such file or directory", "predict", "segment", PNG,
            "--output", "no/where.png", "--checkpoint", trained_segmenter),
    command(2, "Put -- before a text that begins with a dash", "predict", "sentiment", "-_- so tired"),
    command(1, "belongs to translation, not to segmentation", "predict", "segment", PNG,
            "--checkpoint", trained_translator),
]  # fmt: skip

ROWS = [*CONFIGS, *LOADERS, *FILES, *COMMANDS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name[:70])
def test_bad_input_ends_in_one_clear_sentence(
    row: Row, standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "given"
    folder.mkdir()
    with pytest.raises(row.error) as caught:
        row.call(folder)
    assert re.search(row.message, str(caught.value)), str(caught.value)
    if row.error is not Said:
        assert isinstance(caught.value, CourseworkError)
        assert "\n" not in str(caught.value).strip()
