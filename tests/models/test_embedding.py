import pytest
import torch

from coursework.models.embedding import WordEmbedding


def test_pretrained_vectors_of_the_same_width_are_used_as_they_are() -> None:
    vectors = torch.randn(6, 4)
    embedding = WordEmbedding(6, 4, pretrained=vectors)
    assert torch.equal(embedding(torch.arange(6)), vectors)
    assert embedding.table.weight.requires_grad
    assert embedding.table.weight.data_ptr() != vectors.data_ptr()


def test_vectors_of_another_width_are_projected_and_keep_their_variance() -> None:
    vectors = 0.3 * torch.randn(2000, 50, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    out = WordEmbedding(2000, 64, padding_idx=0, pretrained=vectors)(torch.arange(2000))
    assert out.shape == (2000, 64)
    assert not out[0].any()  # the padding
    assert out.std().item() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("size", [5.0, 0.01])
def test_std_rescales_known_words_and_leaves_zeros(size: float) -> None:
    vectors = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * size
    vectors[:100] = 0.0
    embedding = WordEmbedding(500, 8, padding_idx=0, pretrained=vectors, std=0.1)
    assert embedding.table.weight[100:].std().item() == pytest.approx(0.1, rel=1e-4)
    assert embedding.table.weight[:100].abs().max().item() == 0.0


def test_std_needs_two_numbers() -> None:
    pair = WordEmbedding(2, 2, pretrained=torch.tensor([[1.0, 2.0], [0.0, 0.0]]), std=0.1)
    assert pair.table.weight[0].std().item() == pytest.approx(0.1)
    single = torch.tensor([[3.0], [0.0]])  # one number has no deviation
    assert torch.equal(WordEmbedding(2, 1, pretrained=single, std=0.1).table.weight, single)
    assert WordEmbedding(2, 2, pretrained=torch.ones(2, 2), std=0.1).table.weight.isfinite().all()


@pytest.mark.parametrize("std", [None, 0.1, 3.0])
def test_fresh_vectors_have_the_deviation_that_is_asked_for(std: float | None) -> None:
    torch.manual_seed(0)
    weight = WordEmbedding(1000, 20, std=std).table.weight
    assert weight.std().item() == pytest.approx(1.0 if std is None else std, rel=0.02)


def test_padding_is_zero_and_stays_zero() -> None:
    embedding = WordEmbedding(5, 3, padding_idx=0)
    tokens = torch.tensor([[0, 1], [2, 0]])
    assert embedding(tokens)[0, 0].abs().sum() == 0
    embedding(tokens).sum().backward()
    assert embedding.table.weight.grad is not None
    assert embedding.table.weight.grad[0].abs().sum() == 0
    assert embedding.table.weight.grad[1].abs().sum() > 0


def test_pretrained_vectors_of_another_vocabulary() -> None:
    with pytest.raises(ValueError, match="pretrained must have shape"):
        WordEmbedding(7, 4, pretrained=torch.zeros(6, 4))
