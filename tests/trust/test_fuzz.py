"""Whatever comes in, what comes out is a result or an error of the project's own.

About 400 cases in a default run, more than 20,000 at night: ``TRUST_CASES`` multiplies the numbers.
"""

import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given import pages, written, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coursework.data import cache, eng_fra, mnist, sentiment140, text, wikipedia
from coursework.data.subwords import Subwords
from coursework.errors import CourseworkError
from coursework.report import store
from coursework.settings import repo_root
from coursework.training import checkpoints

TIMES = int(os.environ.get("TRUST_CASES", "1"))


def cases(number: int) -> settings:
    return settings(
        max_examples=number * TIMES, deadline=None, suppress_health_check=list(HealthCheck), database=None,
        derandomize=TIMES == 1,  # the same cases in every default run, others every night
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except CourseworkError:
        return None


def damaged(sound: bytes) -> st.SearchStrategy[bytes]:
    place, some = st.integers(0, max(len(sound) - 1, 0)), st.binary(min_size=1, max_size=8)
    return st.one_of(
        st.binary(max_size=200),
        place.map(lambda i: sound[:i]),
        st.builds(lambda i, byte: sound[:i] + bytes([byte]) + sound[i + 1 :], place, st.integers(0, 255)),
        st.builds(lambda i, more: sound[:i] + more + sound[i:], place, some),
        st.builds(lambda i, k: sound[:i] + sound[k:], place, place),
    )  # fmt: skip


ANY_TEXT = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from("@#&;<>/:.!?'\"-_^*ox3 \t\n\x00é\u200b\ud83dß"), max_size=40
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=3), some, max_size=4),
    max_leaves=12,
)  # fmt: skip


@cases(60)
@given(ANY_TEXT)
def test_cleaning_and_tokenising_any_text(raw: str) -> None:
    assert all(token and not token.isspace() for token in text.tokenise(text.clean_tweet(raw)))
    assert isinstance(eng_fra.normalise(raw), str)


@cases(30)
@given(
    st.lists(st.text(max_size=3), max_size=6),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.integers(-9, 9), max_size=5),
)
def test_vocabularies(tokens: list[str], specials: list[str], ids: list[int]) -> None:
    vocabulary = outcome(text.Vocabulary, tuple(tokens), tuple(specials))
    outcome(text.Vocabulary.from_list, tokens, specials)
    if vocabulary is not None:
        outcome(vocabulary.decode, ids)
        outcome(vocabulary.encode, [*tokens, "?"])


@cases(20)
@given(damaged(b"Go.\tVa !\nRun!\tCours\xc3\xa9 !\n"))
def test_sentence_pairs(raw: bytes) -> None:
    outcome(eng_fra.parse, raw.decode("utf-8", errors="replace"), "file")


IDX = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 28, 28)) + bytes(2 * 784)


@cases(40)
@given(raw=damaged(IDX) | st.binary(max_size=24), packed=st.booleans(), data=st.data())
def test_idx_files(folder: Path, raw: bytes, packed: bool, data: st.DataObject) -> None:
    content = gzip.compress(raw, 1)
    content = content if packed else data.draw(damaged(content))
    found = outcome(mnist.read_idx, written(folder, "images.gz", content))
    if found is not None:
        assert found.dtype == np.uint8


@cases(40)
@given(
    st.one_of(
        damaged(b'"0","1","d","q","u","some text"\n"4","2","d","q","u","caf\xe9 &amp; \n more"\n'),
        damaged(b'0,text\n4,"more, text"\n'),
        st.binary(max_size=60),
    ),
    st.sampled_from(["csv", "zip", "csv.gz"]),
)
def test_csv_of_tweets(folder: Path, raw: bytes, ending: str) -> None:
    packed = {
        "csv": raw,
        "csv.gz": gzip.compress(raw, 1),
        "zip": zipped({sentiment140.MEMBER: raw}),
    }
    found = outcome(sentiment140.read_csv, written(folder, f"tweets.{ending}", packed[ending]))
    assert found is None or len(found[0]) == len(found[1])


@cases(50)
@given(damaged(zipped(pages())))
def test_archives_of_page_networks(folder: Path, raw: bytes) -> None:
    found = outcome(wikipedia._read_archive, written(folder, "a.zip", raw), "chameleon")
    assert found is None or len(found) == 3


def bytes_of(save: Any, value: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, value)
    return buffer.getvalue()


STATE = {"model": {"w": torch.arange(6.0)}, "bundle": {"experiment": "cora"}}
CHECKPOINT = bytes_of(lambda file, value: torch.save(value, file), STATE)
with zipfile.ZipFile(io.BytesIO(CHECKPOINT)) as _archive:
    MEMBERS = {name: _archive.read(name) for name in _archive.namelist()}
(PICKLED,) = (name for name in MEMBERS if name.endswith("data.pkl"))


def with_pickle(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:  # stored as it is, as torch reads it
        for name, raw in (MEMBERS | {PICKLED: content}).items():
            file.writestr(name, raw)
    return buffer.getvalue()


@cases(40)
@given(damaged(CHECKPOINT) | damaged(MEMBERS[PICKLED]).map(with_pickle))
def test_checkpoints(folder: Path, raw: bytes) -> None:
    path = written(folder, "last.pt", raw)
    found = outcome(checkpoints.load, path)
    assert found is None or isinstance(found, dict)
    assert (outcome(checkpoints.load_latest, path) is None) == (found is None)


@cases(10)
@given(st.binary(max_size=40))
def test_subword_models(raw: bytes) -> None:
    outcome(Subwords, raw)


RESULT = repo_root() / "writeup" / "results" / "large_graph-full.json"
RECORD = json.loads(RESULT.read_text(encoding="utf-8")) | {"name": "a"}
METRIC = next(iter(RECORD["metrics"]))


@cases(60)
@given(st.data())
def test_results_files(folder: Path, data: st.DataObject) -> None:
    record = json.loads(json.dumps(RECORD))
    kind = data.draw(st.sampled_from(["bytes", "json", "field", "metric"]))
    if kind == "field":
        record[data.draw(st.sampled_from([*RECORD, "more"]))] = data.draw(JSON)
    elif kind == "metric":
        record["metrics"][METRIC][data.draw(st.sampled_from(["mean", "std", "values", "low"]))] = (
            data.draw(JSON | st.just([10**400]) | st.just(10**400))
        )
    content = json.dumps(data.draw(JSON) if kind == "json" else record).encode()
    if kind == "bytes":
        content = data.draw(damaged(content) | st.just(b"[" * 100_000))
    path = written(folder, "a.json", content)
    found = outcome(store.read, "a", folder)
    assert found is None or found["metrics"]
    assert isinstance(cache.read_json(path), dict)


@cases(20)
@given(st.data())
def test_parsed_forms_in_the_cache(folder: Path, data: st.DataObject) -> None:
    place = folder / "parsed"
    place.mkdir(exist_ok=True)
    sound = bytes_of(np.save, np.arange(4))
    size = written(place, "x.npy", data.draw(damaged(sound))).stat().st_size
    index = data.draw(st.just({"x": size}) | JSON | st.dictionaries(st.just("x"), JSON))
    (place / "index.json").write_text(json.dumps(index))
    found = cache._read(place)
    assert found is None or isinstance(found, dict)
