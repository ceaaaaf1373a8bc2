"""GloVe and French vectors from their packages."""

from __future__ import annotations

import numpy as np
import pytest

from coursework.data import embeddings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_glove() -> None:
    words = ["the", "qqzzxyq", "cat", "dog", "carburetor", "the"]
    vectors = embeddings.glove(words)
    assert vectors.vectors.shape == (6, 50)
    assert vectors.vectors.dtype == np.float32
    assert vectors.found.tolist() == [True, False, True, True, True, True]
    assert vectors.coverage == pytest.approx(5 / 6)
    np.testing.assert_allclose(
        vectors.vectors[0, :3], [0.418, 0.24968, -0.41242]
    )  # the published row
    assert not vectors.vectors[1].any()
    np.testing.assert_array_equal(vectors.vectors[0], vectors.vectors[5])
    unit = vectors.vectors / np.maximum(
        1e-9, np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    )
    assert unit[2] @ unit[3] > unit[2] @ unit[4] + 0.3  # cat is nearer to dog than to carburetor
    assert vectors.source.label == "real (package)"


def test_french() -> None:
    vectors = embeddings.french(["chat", "qqzzxyq", "chien", "êtes"])
    assert vectors.vectors.shape == (4, 300)
    assert vectors.vectors.dtype == np.float32
    assert vectors.found.tolist() == [True, False, True, True]
    assert not vectors.vectors[1].any()
    a, b, c = vectors.vectors[0], vectors.vectors[2], vectors.vectors[3]
    cosine = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in ((a, b), (a, c))]
    assert cosine[0] > cosine[1] + 0.3


def test_no_words() -> None:
    vectors = embeddings.glove([])
    assert vectors.vectors.shape == (0, 50)
    assert vectors.coverage == 0.0
