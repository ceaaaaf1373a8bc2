import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from coursework.config import override
from coursework.errors import DataError, TrainingError
from coursework.experiments import preset_of, translation
from coursework.experiments.base import Job, Run, presets_of, run_folder, shrink, train_seed
from coursework.experiments.corpora import PAD_ID
from coursework.experiments.translation import Translator
from coursework.models.transformer import Transformer
from coursework.report.store import make_record
from coursework.training import checkpoints
from coursework_tools.cli import app

pytestmark = pytest.mark.usefixtures("standin")

SMALL = "rnn.width=32 rnn.hidden=48 transformer.width=48 transformer.d_ff=64 transformer.dropout=0"
TINY = override(
    translation.PRESETS["quick"],
    [*SMALL.split(), "pairs=900", "batch_size=16", "rnn.plan.learning_rate=2e-2",
     "transformer.plan.learning_rate=1e-2"],
)  # fmt: skip
WHOLE = override(
    preset_of("translation_all", "quick"),
    [*SMALL.split()[2:], "pairs=900", "vocabulary=150", "batch_size=500", "beam=3",
     "transformer.plan.epochs=5", "transformer.plan.learning_rate=8e-3"],
)  # fmt: skip
SHORT = override(TINY, ["pairs=96", "rnn.plan.epochs=1", "transformer.plan.epochs=1"])
MODELS = ("rnn", "transformer")
Trained = tuple[Run, Path]


def run_of(config: translation.Config, **job: Any) -> Run:
    return translation.train(Job("translation", config, log=None, **job))


@pytest.fixture(scope="module")
def subset(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("subset")
    return run_of(TINY, folder=folder), folder


@pytest.fixture(scope="module")
def whole(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("all")
    return run_of(WHOLE, folder=folder), folder / "transformer" / "best.pt"


@pytest.fixture(scope="module")
def translator(whole: Trained) -> Translator:
    return whole[0].artefacts["translators"]["transformer"]


@pytest.fixture(scope="module")
def french(whole: Trained) -> list[str]:
    return whole[0].artefacts["corpus"].french


def test_networks_learn_and_beat_the_baselines(subset: Trained, whole: Trained) -> None:
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


def test_a_network_depends_on_its_seed_and_not_on_others(standins: Path) -> None:
    alone = dataclasses.replace(SHORT, rnn=None)
    both, same, other = (
        run_of(config, seed=seed).metrics["transformer.validation_loss"]
        for config, seed in ((SHORT, 1), (alone, 1), (alone, 2))
    )
    assert both == same != other


def test_loss_counts_real_words_only() -> None:
    torch.manual_seed(0)
    model = Transformer(20, 20, 16, 2, 1, 1, 32, 0.0, pad_idx=PAD_ID).eval()
    source = torch.tensor([[5, 6, 3], [7, 8, 3]])
    write = torch.tensor([[9, 10, 3, 0, 0], [11, 12, 13, 14, 3]])
    read = torch.cat([torch.full((2, 1), 2), write[:, :-1]], dim=1).masked_fill(write == 0, 0)
    total, count = translation.token_loss(model, {"source": source, "read": read, "write": write})
    assert count == 8
    smooth, _ = translation.token_loss(
        model, {"source": source, "read": read, "write": write}, smoothing=0.1
    )
    logs = model(source, read).log_softmax(2)[write != 0]  # [8, V]
    mean = -(0.9 * logs.gather(1, write[write != 0][:, None])[:, 0] + 0.1 * logs.mean(1))
    torch.testing.assert_close(smooth, mean.sum())
    rows = [(slice(i, i + 1), slice(n)) for i, n in ((0, 3), (1, 5))]
    one_by_one = sum(
        F.cross_entropy(model(source[i], read[i, n])[0], write[i, n][0], reduction="sum")
        for i, n in rows
    )
    torch.testing.assert_close(total, one_by_one)


def test_scores_do_not_count_padding(whole: Trained) -> None:
    """With one sentence a batch there is none."""
    corpus, networks = (whole[0].artefacts[key] for key in ("corpus", "networks"))
    together, alone = (
        translation.teacher_forced(
            dataclasses.replace(WHOLE, batch_size=n), *networks["transformer"], corpus, "test"
        )
        for n in (500, 1)
    )
    assert together == pytest.approx(alone, rel=1e-4)


def test_a_small_checkpoint_translates_like_the_model(
    whole: Trained, translator: Translator, french: list[str], tmp_path: Path
) -> None:
    path, sentences = whole[1], french[:20]
    expected = translator(sentences)
    assert translation.load(path)(sentences) == expected
    small = shrink(path, tmp_path / "small.pt")
    assert small.stat().st_size < path.stat().st_size
    found = translation.load(small)(sentences)
    assert np.mean([a == b for a, b in zip(found, expected, strict=True)]) > 0.9


def test_sentences_of_the_subset_are_read_as_people_type_them(
    subset: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    for translator in subset[0].artefacts["translators"].values():

        def one(text: str, translator: Translator = translator) -> str:
            return translator([text])[0]

        assert one("Elle est fatiguée.").split()[0] in ("she", "they")
        assert one("  ELLE   EST  FATIGUÉE !?.")  # signs are words of their own
        assert one("Elle est FATIGUÉE") == one("elle est fatiguee")
        # Curly and straight apostrophes are the same, and unknown words are no error.
        assert one("Je n'suis pas prêt") == one("je n’suis pas prêt")
        assert isinstance(one("elle est " * 80), str)
        capsys.readouterr()
        for unknown in ("xylophone zygomatique", "你好", "123"):
            assert one(unknown) == unknown
            assert f"No word of {unknown!r} is known" in capsys.readouterr().err


def test_a_text_that_cannot_be_read_is_said_on_stderr(
    translator: Translator, french: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for unknown in ("你好", "🙂🙂"):
        assert translator([unknown, french[3], ""])[0::2] == [unknown, ""]
        said = capsys.readouterr().err
        assert said == f"No letter of {unknown!r} is known; it was not translated.\n"
    translator(["snt tns", french[3]])
    assert capsys.readouterr().err.count("may be invented") == 1
    (english,) = translator(["Elle a 90781 chats."])
    assert ("lacks 90781" in capsys.readouterr().err) == ("90781" not in english)
    with pytest.raises(DataError, match="a list of texts"):
        translator("Bonjour.")


@pytest.mark.parametrize(
    "sentence",
    ["", "   ", "\x00\t", "喜欢", "JE SUIS CONTENTE !", "l’école d'été", "zzz qqq", "?", "je " * 400,
     "Ich bin ein Berliner.", "🙂🙂", "e\u0301te\u0301"],
)  # fmt: skip
def test_any_sentence_ends_in_a_translation(translator: Translator, sentence: str) -> None:
    (output,) = translator([sentence], beam=2)
    assert isinstance(output, str)
    assert sentence.strip("\x00\t ") or output == ""


def test_order_is_kept_empty_ones_stay_empty_and_a_text_is_cut_into_sentences(
    translator: Translator, french: list[str]
) -> None:
    mixed = [french[3], "", french[700], french[20], " "]
    assert translator(mixed) == [translator([s])[0] for s in mixed]
    sentences = ["Je suis fatigué.", "Elle est contente.", "Es-tu prêt ?"]
    assert translator([" ".join(sentences)]) == [" ".join(translator(sentences))]


def test_attention_belongs_to_the_translation(subset: Trained, whole: Trained) -> None:
    for run in (subset[0], whole[0]):
        for translator in run.artefacts["translators"].values():
            for sentence in run.artefacts["corpus"].part("test")[0][:5]:
                aligned = translator.align(sentence)
                assert aligned.weights.shape == (len(aligned.output), len(aligned.source))
                assert aligned.weights.sum(1).tolist() == pytest.approx([1] * len(aligned.output))
                assert aligned.source[-1] == aligned.output[-1]  # the mark of the end
                words = aligned.output[:-1]
                text = " ".join(words) if run is subset[0] else "".join(words).replace("▁", " ")
                assert text.strip() == translator([sentence])[0]
    assert not translator.model.decoder.layers[-1].cross_attention._forward_pre_hooks
    with pytest.raises(DataError, match="exactly one sentence"):
        translator.align("Oui. Non.")


def test_predict_command(
    whole: Trained, translator: Translator, french: list[str], tmp_path: Path
) -> None:
    first, second = translator(french[:2], beam=1)

    def said(*given: str) -> list[str]:
        options = ["--beam", "1", "--checkpoint", str(whole[1])]
        done = CliRunner().invoke(app, ["predict", "translate", *given, *options])
        return done.stdout.splitlines()

    assert said(*french[:2]) == [first, second]
    file = tmp_path / "french.txt"
    file.write_text("\n".join([french[0], "", french[1]]), encoding="utf-8")
    assert said("--file", str(file)) == [first, "", second]


def test_a_checkpoint_of_other_pairs(subset: Trained, tmp_path: Path) -> None:
    state = checkpoints.load(subset[1] / "rnn" / "best.pt")
    state["bundle"]["config"]["pairs"] = 90
    other = checkpoints.save(state, tmp_path / "b.pt")
    with pytest.raises(TrainingError, match="trained on other sentence pairs"):
        translation.evaluate(other)


def test_presets_differ_in_what_is_compared_only() -> None:
    presets, everything = translation.PRESETS, presets_of("translation_all")
    for size in ("quick", "full"):
        pretrained = dataclasses.replace(presets[size], embeddings="pretrained")
        assert pretrained == presets[f"{size}-pretrained"]
    assert presets["tutorial-leaky"] == dataclasses.replace(presets["tutorial"], split="random")
    members = preset_of("translation_ensemble", "full")
    assert dataclasses.replace(members, members=1, beam=1) == presets["full-pretrained"]
    cells = [everything[n] for n in ("brief", "brief-pretrained", "rnn", "rnn-pretrained")]
    assert {(*c.networks, c.embeddings) for c in cells} == {
        (name, kind) for name in MODELS for kind in ("own", "pretrained")
    }
    changes = {"rnn": cells[2].rnn, "transformer": None, "embeddings": "own"}
    assert len({dataclasses.replace(c, **changes) for c in cells}) == 1
    assert {n.plan.epochs for c in cells for n in c.networks.values()} == {3}


def test_the_recurrent_network_learns_subwords_too() -> None:
    small = override(
        preset_of("translation_all", "rnn"),
        [*SMALL.split()[:2], "pairs=500", "vocabulary=150", "batch_size=200", "beam=2",
         "rnn.plan.epochs=3", "rnn.plan.learning_rate=2e-2"],
    )  # fmt: skip
    run = translation.train(Job("translation_all", small, log=None))
    assert run.metrics["test_bleu"] > run.metrics["memory.test_bleu"]


def test_members_are_those_of_the_single_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "PRESETS", {"tiny": SHORT})
    job = Job("translation", SHORT, "tiny", seed=1, log=None)
    single = translation.train(dataclasses.replace(job, folder=run_folder(job)))
    loss = MagicMock(side_effect=translation.token_loss)
    monkeypatch.setattr(translation, "token_loss", loss)
    both = dataclasses.replace(SHORT, members=2, beam=2)
    ensemble = Job("translation_ensemble", both, "quick", resume=True, log=None)
    ensemble = dataclasses.replace(ensemble, folder=run_folder(ensemble))
    first, trained = translation.train(ensemble), loss.call_count
    again = translation.train(ensemble)
    assert trained > 0  # the member with seed 0
    assert loss.call_count == trained  # and nothing the second time
    assert first.metrics == again.metrics
    own = single.artefacts["networks"]["transformer"][0].state_dict()
    member = first.artefacts["networks"]["transformer"][1]
    assert all(torch.equal(own[key], value) for key, value in member.state_dict().items())
    for name in MODELS:
        for key in ("bleu", "chrf", "exact_match"):
            keys = {f"{name}.test_{key}", f"{name}.one.greedy.validation_{key}"}
            assert keys <= first.metrics.keys()
    assert 0 <= first.notes["paired_bootstrap_p"] <= 1
    alone = [first.metrics[f"{name}.one.beam.test_bleu"] for name in ("transformer", "rnn")]
    low, high, how = first.notes["intervals"]["difference.test_bleu"]
    assert low <= first.metrics["difference.test_bleu"] == alone[0] - alone[1] <= high
    assert how.startswith("bootstrap, 2 seeds, ")
    # begun anew, it keeps the checkpoints of all its networks
    translation.train(dataclasses.replace(ensemble, resume=False))
    folders = [run_folder(dataclasses.replace(job, seed=seed, resume=True)) for seed in (0, 1)]
    assert all((folder / name / "best.pt").is_file() for folder in folders for name in MODELS)


def test_members_on_all_pairs_are_those_of_the_single_runs_with_their_beam() -> None:
    tiny = override(WHOLE, ["pairs=96", "transformer.plan.epochs=1"])
    both = dataclasses.replace(tiny, members=2)
    run = train_seed("translation_all", both, "ensemble", 0, log=None)
    log = MagicMock()
    options: dict[str, Any] = {"resume": True, "log": log}
    alone = [train_seed("translation_all", tiny, "custom", seed, **options) for seed in (0, 1)]
    assert "resumed" in str(log.call_args_list)
    for key in ("bleu", "chrf"):
        mean = np.mean([one.metrics[f"test_{key}"] for one in alone])
        assert run.metrics[f"ensemble.one.beam.test_{key}"] == pytest.approx(mean)
    assert {"ensemble.test_bleu_multi", "ensemble.validation_bleu"} <= run.metrics.keys()
    assert run.metrics["ensemble.test_chrf"] != run.metrics["ensemble.one.beam.test_chrf"]
    assert 0 <= run.notes["paired_bootstrap_p"] <= 1
    intervals = {k for k, v in make_record("a", [run])["metrics"].items() if "low" in v}
    assert intervals == {"ensemble.test_bleu", "ensemble.test_chrf"}
