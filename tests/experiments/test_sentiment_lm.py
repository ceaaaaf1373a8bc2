import numpy as np
import pytest
import torch
import torch.nn.functional as F

from coursework.config import override
from coursework.errors import TrainingError
from coursework.experiments import sentiment_lm
from coursework.experiments.sentiment_batches import Encoded
from coursework.models.bilstm import BiLSTMClassifier
from coursework.training import engine

pytestmark = pytest.mark.usefixtures("standin")

WORDS = 9


def network() -> BiLSTMClassifier:
    torch.manual_seed(0)
    return BiLSTMClassifier(WORDS, 6, 5, cell="own", embedding_dropout=0.1)


def circles(n: int, length: int = 6) -> Encoded:
    """Texts in which each word says the next one: 2, 3, ... 8, 2, ..."""
    ids = 2 + (np.arange(n)[:, None] + np.arange(length)) % (WORDS - 2)
    return Encoded.of(ids.ravel().astype(np.int32), np.full(n, length), np.arange(n) % 2)


def model(*counts: int) -> sentiment_lm.LanguageModel:
    return sentiment_lm.LanguageModel(network(), torch.tensor(counts).float()).eval()


def whole_softmax(found: sentiment_lm.LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    queries, targets = found.queries(tokens)
    scores = F.linear(queries, found.embedding.table.weight, found.bias)
    return F.cross_entropy(scores, targets, reduction="sum").detach()


@pytest.mark.parametrize("place", range(5))
def test_a_word_is_never_an_input_of_its_own_prediction(place: int) -> None:
    found, tokens = model(0, 1, *[10] * 7), torch.tensor([[2, 3, 4, 5, 6]])
    changed = tokens.clone()
    changed[0, place] = 8
    (before, targets), (after, _) = found.queries(tokens), found.queries(changed)
    assert targets.tolist() == [3, 4, 5, 6, 2, 3, 4, 5]  # the next words, then the previous ones
    predicted = [i for i in (place - 1, 4 + place) if (i >= 0 and place) or i >= 4]
    same = [bool(torch.equal(before[i], after[i])) for i in range(8)]
    assert all(same[i] for i in predicted if i < 8)
    assert not all(same)  # it is an input of others


def test_with_all_words_as_candidates_the_loss_is_that_of_the_whole_softmax() -> None:
    found, tokens = model(*[5] * WORDS), torch.tensor([[2, 3, 4], [8, 7, 6]])
    loss, count = found(tokens, 2000)
    assert count == 8
    torch.testing.assert_close(loss, whole_softmax(found, tokens), rtol=1e-5, atol=1e-5)


def test_candidates_that_are_seldom_drawn_weigh_more() -> None:
    """Averaged over draws, the corrected softmax is closer to the whole one than the plain one is."""
    found, tokens = model(1, 1, 200, 100, 50, 25, 12, 6, 3), torch.tensor([[2, 3]])
    whole = float(whole_softmax(found, tokens))
    torch.manual_seed(1)
    corrected, plain = [], []
    for _ in range(100):
        corrected.append(float(found(tokens, 3)[0].detach()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "expm1", lambda x: -torch.ones_like(x))  # log pi = 0
            plain.append(float(found(tokens, 3)[0].detach()))
    assert abs(np.mean(corrected) - whole) < abs(np.mean(plain) - whole)


def config(*changes: str) -> sentiment_lm.Config:
    small = ("plan.epochs=8", "plan.learning_rate=0.05", "batch_size=8", "noise=20")
    return override(sentiment_lm.Config(), [*small, *changes])


def test_it_learns_which_word_follows_and_serves_all_seeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tweets = circles(28)
    first = network()
    output = first.output.weight.detach().clone()
    weights, history = sentiment_lm.pretrain(first, config(), tweets, tweets, "texts")
    first_epoch, *_, last = (row["validation_perplexity"] for row in history)
    assert last < 1.5 < WORDS / 2 < first_epoch
    assert set(weights) == {k for k in first.state_dict() if not k.startswith("output.")}
    assert torch.equal(first.output.weight, output)
    assert capsys.readouterr().out == ""  # without a log
    other = network()
    other.embedding.table.weight.data[3] += 1  # other vectors to start from: another model
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="by one process; train without torchrun first"):
        sentiment_lm.pretrain(other, config(), tweets, tweets, "texts")
    monkeypatch.setattr(engine, "fit", lambda *_, **__: pytest.fail("trained twice"))
    again, same = sentiment_lm.pretrain(network(), config(), tweets, tweets, "texts")
    assert same == history
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_tweets_of_one_word_are_left_out() -> None:
    tweets = Encoded.of(np.array([2, 3, 4, 5], np.int32), np.array([1, 2, 1]), np.zeros(3))
    _, history = sentiment_lm.pretrain(network(), config("plan.epochs=1"), tweets, tweets, "short")
    assert np.isfinite(history[0]["train_loss"])
