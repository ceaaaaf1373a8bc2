"""Checks of arguments, shared by all models."""

from typing import Any

from torch import Tensor, int32, int64


def require(holds: bool, sentence: str) -> None:
    """Raise ValueError with the sentence unless it holds."""
    if not holds:
        raise ValueError(sentence)


def probability(name: str, p: float, open_end: bool = False) -> None:
    """Refuse p outside [0, 1]; with ``open_end`` refuse p = 1 too."""
    inside, end = (0.0 <= p < 1.0, ")") if open_end else (0.0 <= p <= 1.0, "]")
    require(inside, f"{name} must be a probability in [0, 1{end}, but is {p}.")


def expect(name: str, x: Any, *layouts: str, **sizes: int) -> dict[str, int]:
    """Check the shape of a tensor, and return the size of each axis by its letter.

    `expect("h", h, "N F", F=3)` wants two axes, the second of size 3. A letter that appears twice
    wants equal sizes; a leading `...` is any number of axes. Several layouts are alternatives.
    """
    require(isinstance(x, Tensor), f"{name} must be a tensor, but is a {type(x).__name__}.")
    for layout in layouts:
        letters = layout.removeprefix("... ").split()
        if x.ndim != len(letters) and not (layout.startswith("...") and x.ndim > len(letters)):
            continue
        found = sizes | {k: int(k) for k in letters if k.isdigit()}
        shape = x.shape[x.ndim - len(letters) :]
        if all(found.setdefault(k, n) == n for k, n in zip(letters, shape, strict=True)):
            return found
    wanted = " or ".join(f"[{', '.join(layout.split())}]" for layout in layouts)
    named = [f"{k} = {n}" for k, n in sizes.items() if any(k in lay.split() for lay in layouts)]
    where = f" with {', '.join(named)}" if named else ""
    raise ValueError(f"{name} must have shape {wanted}{where}, but has {list(x.shape)}.")


def expect_words(name: str, words: Any, layout: str, pad: int, **sizes: int) -> Tensor:
    """Check a batch of sentences, padded at the right, and return the number of words of each."""
    expect(name, words, layout, **sizes)
    require(
        words.dtype in (int64, int32) and words.shape[-1] > 0 and not words.is_meta,
        f"{name} must hold int64 or int32 ids of words, at least one for each sentence, but is {words.dtype} "
        f"with shape {list(words.shape)} on {words.device}.",
    )
    require(pad >= 0, f"The id of the padding is {pad}; it must be that of a word, 0 or more.")
    real = words != pad  # [B, T]
    right = bool((real[:, 1:] <= real[:, :-1]).all())
    require(right, f"{name} has padding (id {pad}) in front of a word; pad at the right.")
    return real.sum(dim=1)  # [B]
