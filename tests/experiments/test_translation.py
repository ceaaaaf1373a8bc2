"""Problem 2(e) on the stand-in sentences: learning, repeatability, ensembles, checkpoints, bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from coursework.config import override
from coursework.errors import DataError, TrainingError
from coursework.experiments import translation, translation_all
from coursework.experiments.base import Job, Run, shrink
from coursework.experiments.corpora import PAD_ID
from coursework.models.transformer import Transformer
from coursework.training import checkpoints

SMALL = ("rnn.width=32", "rnn.hidden=48", "transformer.width=48", "transformer.d_ff=64")
TINY = override(
    translation.PRESETS["quick"],
    [*SMALL, "pairs=900", "batch_size=16", "transformer.dropout=0", "rnn.plan.learning_rate=2e-2",
     "transformer.plan.learning_rate=1e-2"],
)  # fmt: skip
WHOLE = override(
    translation_all.PRESETS["quick"],
    ["pairs=900", "vocabulary=150", "batch_size=500", "transformer.width=48", "transformer.d_ff=64",
     "transformer.dropout=0", "transformer.plan.epochs=5", "transformer.plan.learning_rate=8e-3",
     "beam=3"],
)  # fmt: skip
SHORT = override(TINY, ["pairs=96", "rnn.plan.epochs=1", "transformer.plan.epochs=1"])
MODELS = ("rnn", "transformer")


def run_of(config: translation.Config, **job: Any) -> Run:
    return translation.train(Job("translation", config, log=job.pop("log", None), **job))


@pytest.fixture(scope="module")
def subset(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Both networks on the subset."""
    folder = tmp_path_factory.mktemp("subset")
    return run_of(TINY, folder=folder), folder


@pytest.fixture(scope="module")
def whole(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A Transformer on all pairs."""
    folder = tmp_path_factory.mktemp("all")
    return run_of(WHOLE, folder=folder), folder / "transformer" / "best.pt"


def test_networks_learn_and_beat_the_baselines(
    subset: tuple[Run, Path], whole: tuple[Run, Path]
) -> None:
    for run, names in ((subset[0], ("rnn.", "transformer.")), (whole[0], ("",))):
        assert run.source.is_standin
        assert run.notes["pairs"]["train"] == 900
        assert "tok:13a" in run.notes["signatures"]["bleu"]
        best = max(run.metrics["copy.test_bleu"], run.metrics["memory.test_bleu"])
        for name in names:
            bleu = run.metrics[f"{name}test_bleu"]
            assert bleu > best + 5
            assert run.metrics[f"{name}test_token_accuracy"] > 0.6
            low, high, how = run.notes["intervals"][f"{name}test_bleu"]
            assert low <= bleu <= high
            assert "sentences" in how
        for history in run.curves.values():
            assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert 0 <= subset[0].notes["paired_bootstrap_p"] <= 1
    metrics, notes = whole[0].metrics, whole[0].notes
    assert metrics["test_greedy_bleu"] > 0
    assert 0 <= notes["beam_against_greedy_p"] <= 1
    assert notes["several_references"] > 0
    assert metrics["test_match_multi"] >= metrics["test_exact_match"]
    assert len(notes["translations"]["rows"]) == len(notes["translations"]["beam"])


def test_vectors_are_where_training_starts(standins: Path) -> None:
    french, english = torch.randn(50, 48), torch.randn(60, 48)
    for config, tables in ((WHOLE, (french, french)), (TINY, (french, english))):
        sizes = len(tables[0]), len(tables[1])
        model = translation.build(config, "transformer", sizes, tables)
        table = model.get_parameter("src_embedding.table.weight").detach()
        scale = table[4:].std() / tables[0][4:].std()
        torch.testing.assert_close(table[5], tables[0][5] * scale, rtol=0.1, atol=1e-3)


# ----------------------------------------------------------------------------------- the same again


def test_the_same_seed_gives_the_same_result(standins: Path) -> None:
    first, second = run_of(SHORT, seed=1), run_of(SHORT, seed=1)
    assert first.metrics == second.metrics
    assert first.artefacts["translations"] == second.artefacts["translations"]
    # A network does not depend on which others are trained, and does on the seed.
    alone = dataclasses.replace(SHORT, rnn=None)
    same, other = (run_of(alone, seed=seed).metrics for seed in (1, 2))
    key = "transformer.validation_loss"
    assert same[key] == first.metrics[key] != other[key]


def test_loss_counts_real_words_only() -> None:
    torch.manual_seed(0)
    model = Transformer(20, 20, 16, 2, 1, 1, 32, 0.0, pad_idx=PAD_ID).eval()
    source = torch.tensor([[5, 6, 3], [7, 8, 3]])
    write = torch.tensor([[9, 10, 3, 0, 0], [11, 12, 13, 14, 3]])
    read = torch.cat([torch.full((2, 1), 2), write[:, :-1]], dim=1).masked_fill(write == 0, 0)
    total, count = translation.token_loss(model, {"source": source, "read": read, "write": write})
    assert count == 8
    one_by_one = sum(
        F.cross_entropy(
            model(source[i : i + 1], read[i : i + 1, :n])[0], write[i, :n], reduction="sum"
        )
        for i, n in ((0, 3), (1, 5))
    )
    torch.testing.assert_close(total, one_by_one)


def test_scores_do_not_count_padding(whole: tuple[Run, Path]) -> None:
    """With one sentence a batch there is none."""
    corpus, networks = (whole[0].artefacts[key] for key in ("corpus", "networks"))
    together, alone = (
        translation.teacher_forced(
            dataclasses.replace(WHOLE, batch_size=n), *networks["transformer"], corpus, "test"
        )
        for n in (500, 1)
    )
    assert together == pytest.approx(alone, rel=1e-4)


# ------------------------------------------------------------------------------------ trained networks


def test_a_small_checkpoint_translates_like_the_model(
    whole: tuple[Run, Path], tmp_path: Path
) -> None:
    run, path = whole
    sentences = run.artefacts["corpus"].french[:20]
    expected = run.artefacts["translators"]["transformer"](sentences)
    assert translation.predict(sentences, path) == expected
    small = shrink(path, tmp_path / "small.pt")
    assert small.stat().st_size < path.stat().st_size
    found = translation.predict(sentences, small)
    assert np.mean([a == b for a, b in zip(found, expected, strict=True)]) > 0.9


def test_sentences_of_the_subset_are_read_as_people_type_them(
    subset: tuple[Run, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for translator in subset[0].artefacts["translators"].values():

        def one(text: str, translator: translation.Translator = translator) -> str:
            return translator([text])[0]

        assert one("Elle est fatiguée.").split()[0] in ("she", "they")
        assert one("  ELLE   EST  FATIGUÉE !?.")  # signs are words of their own
        assert one("Elle est FATIGUÉE") == one("elle est fatiguee")
        # Curly and straight apostrophes are the same, and unknown words are no error.
        assert one("Je n'suis pas prêt") == one("je n’suis pas prêt")
        assert isinstance(one("elle est " * 80), str)
        capsys.readouterr()
        for unknown in ("xylophone zygomatique", "你好", "123"):
            assert one(unknown) == unknown or unknown.isascii()
            assert f"No word of {unknown!r} is known" in capsys.readouterr().err


def test_a_text_that_cannot_be_read_is_said_on_stderr(
    whole: tuple[Run, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    translator = whole[0].artefacts["translators"]["transformer"]
    french = whole[0].artefacts["corpus"].french[3]
    assert translator(["你好", french, ""])[0::2] == ["你好", ""]
    said = capsys.readouterr().err
    assert said == "No letter of '你好' is known; it was not translated.\n"
    translator(["snt tns", french])
    assert capsys.readouterr().err.count("may be invented") == 1
    with pytest.raises(DataError, match="a list of texts"):
        translator("Bonjour.")


@pytest.mark.parametrize(
    "sentence",
    ["", "   ", "\x00\t", "喜欢", "JE SUIS CONTENTE !", "l’école d'été", "zzz qqq", "?", "je " * 400,
     "Ich bin ein Berliner.", "🙂🙂", "e\u0301te\u0301"],
)  # fmt: skip
def test_any_sentence_ends_in_a_translation(whole: tuple[Run, Path], sentence: str) -> None:
    (output,) = whole[0].artefacts["translators"]["transformer"]([sentence], beam=2)
    assert isinstance(output, str)
    if not sentence.strip("\x00\t "):
        assert output == ""


def test_order_is_kept_empty_ones_stay_empty_and_a_text_is_cut_into_sentences(
    whole: tuple[Run, Path],
) -> None:
    translator = whole[0].artefacts["translators"]["transformer"]
    french = whole[0].artefacts["corpus"].french
    mixed = [french[3], "", french[700], french[20], " "]
    assert translator(mixed) == [translator([s])[0] for s in mixed]
    sentences = ["Je suis fatigué.", "Elle est contente.", "Es-tu prêt ?"]
    assert translator([" ".join(sentences)]) == [" ".join(translator(sentences))]


def test_attention_belongs_to_the_translation(
    subset: tuple[Run, Path], whole: tuple[Run, Path]
) -> None:
    for run in (subset[0], whole[0]):
        for translator in run.artefacts["translators"].values():
            for sentence in run.artefacts["corpus"].part("test")[0][:5]:
                aligned = translator.align(sentence)
                assert aligned.weights.shape == (len(aligned.output), len(aligned.source))
                torch.testing.assert_close(
                    aligned.weights.sum(1), torch.ones(len(aligned.output)), atol=1e-5, rtol=0
                )
                assert aligned.source[-1] == aligned.output[-1]  # the mark of the end
                words = aligned.output[:-1]
                text = " ".join(words) if run is subset[0] else "".join(words).replace("▁", " ")
                assert text.strip() == translator([sentence])[0]
    assert not translator.model.decoder.layers[-1].cross_attention._forward_pre_hooks
    with pytest.raises(DataError, match="exactly one sentence"):
        translator.align("Oui. Non.")


def test_predict_command(whole: tuple[Run, Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from coursework_tools.cli import app

    run, path = whole
    french = list(run.artefacts["corpus"].french[:2])
    wanted = run.artefacts["translators"]["transformer"](french, beam=1)

    def said(*given: str) -> Any:
        options = ["--beam", "1", "--checkpoint", str(path)]
        return CliRunner().invoke(app, ["predict", "translate", *given, *options])

    assert said(*french).stdout.splitlines() == wanted
    file = tmp_path / "french.txt"
    file.write_text("\n".join([french[0], "", french[1]]), encoding="utf-8")
    assert said("--file", str(file)).stdout.split("\n")[:3] == [wanted[0], "", wanted[1]]


# ------------------------------------------------------------------------------------------- bad input


def test_bad_checkpoints(subset: tuple[Run, Path], tmp_path: Path) -> None:
    state = checkpoints.load(subset[1] / "rnn" / "best.pt")
    state["bundle"]["config"]["pairs"] = 90
    other = checkpoints.save(state, tmp_path / "b.pt")
    with pytest.raises(TrainingError, match="trained on other sentence pairs"):
        translation.evaluate(other)


def test_presets_differ_in_what_is_compared_only() -> None:
    presets = translation.PRESETS
    for size in ("quick", "full"):
        pretrained = dataclasses.replace(presets[size], embeddings="pretrained")
        assert pretrained == presets[f"{size}-pretrained"]
    assert presets["tutorial-leaky"] == dataclasses.replace(presets["tutorial"], split="random")
