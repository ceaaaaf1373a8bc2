import itertools

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from coursework.models.beam_search import Ensemble, beam_search, length_penalty
from coursework.models.seq2seq import Seq2Seq
from coursework.models.transformer import Transformer
from properties import every, refused

PAD, UNK, SOS, EOS = range(4)


def transformer(seed: int = 0, vocab: int = 7) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(vocab, vocab, 16, 2, 1, 2, 32, dropout=0.1, pad_idx=PAD)
    # Tied logits of a fresh model are nearly flat; sharper ones make hypotheses differ.
    model.tgt_embedding.table.weight.data *= 4
    return model.double().eval()


def recurrent(seed: int = 0, vocab: int = 7) -> Seq2Seq:
    torch.manual_seed(seed)
    model = Seq2Seq(vocab, vocab, 8, 12, 0.1, PAD, bidirectional=True)
    model.decoder.output.weight.data *= 4
    return model.double().eval()


MODELS = {"transformer": transformer, "recurrent": recurrent}
ENDS = {"sos": SOS, "eos": EOS}


def written(row: Tensor) -> list[int]:
    return [w for w in row.tolist() if w != PAD]


def sources(batch: int, length: int, vocab: int = 7, seed: int = 1) -> Tensor:
    return torch.randint(4, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def log_probability(model: torch.nn.Module, src: Tensor, words: list[int]) -> float:
    """Of one output given its source, by teacher forcing, without padding among the choices."""
    read = torch.tensor([[SOS, *words[:-1]]])
    with torch.no_grad():
        logits = model(src.unsqueeze(0), read)[0]  # [L, V]
    return float(logits.log_softmax(dim=1)[torch.arange(len(words)), torch.tensor(words)].sum())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_that_holds_everything_finds_the_best_of_all_outputs(
    name: str, alpha: float
) -> None:
    vocab, longest = 6, 3
    for seed in range(4):
        model = MODELS[name](seed, vocab)
        src = sources(3, 4, vocab, seed)
        found = beam_search(
            model, src, width=vocab**longest, max_length=longest, **ENDS, alpha=alpha
        )
        letters = [w for w in range(vocab) if w not in (PAD, EOS)]
        beginnings = (itertools.product(letters, repeat=n) for n in range(longest))
        outputs = [[*beginning, EOS] for beginning in itertools.chain(*beginnings)]
        for row in range(3):
            scores = [
                log_probability(model, src[row], words) / float(length_penalty(len(words), alpha))
                for words in outputs
            ]
            best = outputs[max(range(len(outputs)), key=scores.__getitem__)]
            assert found.words[row].tolist()[: len(best)] == best
            assert float(found.score[row]) == pytest.approx(max(scores), abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("width", [1, 4])
def test_log_probability_is_that_of_teacher_forcing(name: str, width: int) -> None:
    model, src = MODELS[name](2), sources(5, 6)
    found = beam_search(model, src, width=width, max_length=8, **ENDS)
    for row in range(5):
        expected = log_probability(model, src[row], written(found.words[row]))
        assert float(found.log_probability[row]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_the_step_by_step_argmax(name: str) -> None:
    model, src = MODELS[name](2), sources(3, 6)
    found = beam_search(model, src, width=1, max_length=6, **ENDS).words
    read, ended = torch.full((3, 1), SOS), torch.zeros(3, dtype=torch.bool)
    for step in range(found.shape[1]):
        scores = model(src, read)[:, -1].index_fill(1, torch.tensor(PAD), -torch.inf)
        word = scores.argmax(dim=1).masked_fill(ended, PAD)
        assert torch.equal(found[:, step], word)
        read, ended = torch.cat([read, word.unsqueeze(1)], dim=1), ended | (word == EOS)
    assert found.shape[1] == 6 or bool(ended.all())


@pytest.mark.parametrize("name", MODELS)
@every(
    seed=(0, 10_000),
    width=(1, 5),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    examples=20,
)
def test_a_sentence_does_not_depend_on_the_others_in_its_batch(
    name: str, seed: int, width: int, lengths: list[int]
) -> None:
    model = MODELS[name](seed % 7)
    src = sources(len(lengths), max(lengths), seed=seed)
    for row, length in enumerate(lengths):
        src[row, length:] = PAD
    options = {"width": width, "max_length": 7, **ENDS}
    together = beam_search(model, src, **options)
    for row, length in enumerate(lengths):
        alone = beam_search(model, src[row : row + 1, :length], **options)
        assert float(together.score[row]) == pytest.approx(float(alone.score[0]), abs=1e-5)


def test_output_ends_with_the_end_word_or_is_cut_off_and_holds_no_padding_before_it() -> None:
    found = beam_search(transformer(1), sources(20, 5), width=3, max_length=9, **ENDS).words
    assert found.shape[1] <= 9
    for row in found.tolist():
        words = row[: row.index(EOS) + 1] if EOS in row else row
        assert PAD not in words
        assert set(row[len(words) :]) <= {PAD}


def test_length_penalty_of_wu_et_al() -> None:
    assert float(length_penalty(1, 0.6)) == 1.0
    assert float(length_penalty(13, 0.5)) == pytest.approx(3**0.5)
    assert float(length_penalty(13, 0.0)) == 1.0


class Chain:
    """A model whose next word depends on the last one only: `after[word]` are its probabilities."""

    def __init__(self, after: dict[int, dict[int, float]], vocab: int = 6) -> None:
        self.logits = torch.full((vocab, vocab), -torch.inf)
        for word, following in after.items():
            for other, p in following.items():
                self.logits[word, other] = torch.tensor(p).log()
        self.logits[EOS, EOS] = self.logits[PAD, EOS] = 0.0  # of rows that have ended
        self.steps = 0

    def start(self, src: Tensor) -> "Chain":
        return self

    def step(self, words: Tensor) -> Tensor:
        self.steps += 1
        return self.logits[words]

    def select(self, rows: Tensor) -> None:
        pass


@pytest.mark.parametrize(
    ("end", "alpha", "steps"),
    [(0.9, 0.0, 1), (0.5, 0.0, 1), (0.4, 0.0, 2), (0.5, 1.0, 2)],
    ids=["ahead", "level", "behind", "a longer one may still win"],
)
def test_stops_as_soon_as_nothing_open_can_win(end: float, alpha: float, steps: int) -> None:
    model = Chain({SOS: {EOS: end, 4: 1 - end}, 4: {EOS: 1.0}})
    found = beam_search(model, torch.ones(1, 1), width=2, max_length=4, **ENDS, alpha=alpha)
    assert model.steps == steps
    assert found.words.tolist() == ([[EOS]] if steps == 1 else [[4, EOS]])


def test_a_single_step() -> None:
    found = beam_search(transformer(), sources(2, 2), width=1, max_length=1, **ENDS)
    assert found.words.shape == (2, 1)


def test_an_ensemble_averages_probabilities_and_not_scores() -> None:
    models = [transformer(0), recurrent(1)]
    src = sources(4, 5)
    found = beam_search(Ensemble(models), src, width=4, max_length=8, **ENDS)
    for row in range(4):
        words = written(found.words[row])
        read = torch.tensor([[SOS, *words[:-1]]])
        with torch.no_grad():
            p = sum(m(src[row : row + 1], read)[0].softmax(dim=1) for m in models) / 2  # [L, V]
        expected = p[torch.arange(len(words)), torch.tensor(words)].log().sum()
        assert float(found.log_probability[row]) == pytest.approx(float(expected), abs=1e-9)
    for members in (models, models[:1]):
        log_p = Ensemble(members).start(src).step(torch.full((4,), SOS))  # [4, V]
        torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(4, dtype=torch.float64))


test_wrong_arguments = refused(
    *((lambda w=w, n=n: beam_search(transformer(), sources(1, 2), width=w, max_length=n, **ENDS),
       "at least 1") for w, n in ((0, 5), (2, 0))),
    (lambda: beam_search(transformer(), sources(1, 2), width=1, max_length=1, **ENDS, alpha=-1.0), "alpha"),
    (lambda: beam_search(transformer(), sources(1, 2), width=1, max_length=1, sos=SOS, eos=0), "is not pad"),
    (lambda: Ensemble([]), "at least one model"),
)  # fmt: skip
