r"""Cleaning and tokenising of tweets, and the vocabulary.

Cleaning is a list of small named steps (:data:`CLEANING_STEPS`) that mend what the crawl broke and
replace what cannot generalise by a placeholder. What carries sentiment stays: stop words (``not``),
punctuation, emoticons, a mark for elongated words. There is no stemming.

Every step looks at one space-delimited piece of the text at a time: for any texts ``a`` and ``b``,
``tokenise(clean_tweet(a + " " + b)) == tokenise(clean_tweet(a)) + tokenise(clean_tweet(b))``. That is
what lets :func:`tokenise_many` clean each distinct piece once, and do 1.6 million tweets in seconds.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from coursework.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

USER, URL, HASHTAG, LONG = "<user>", "<url>", "<hashtag>", "<long>"

# ------------------------------------------------------------------------------------- cleaning steps

# what html.unescape looks for, so that it can be applied entity by entity
_ENTITY = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
# UTF-8 sequences of two to four bytes that were read as latin-1
_MOJIBAKE = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_PLAIN = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "`": "'", "´": "'", "ʼ": "'", "\x91": "'", "\x92": "'",
        "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "\x93": '"', "\x94": '"',
        "–": "-", "—": "-", "−": "-", "\x96": "-", "\x97": "-",
        "…": "...", "\x85": "...",
        "\u200b": None, "\u200c": None, "\u200d": None, "\ufe0f": None, "\ufeff": None, "\xad": None,
    }
)  # fmt: skip
_URL = re.compile(
    r"(?:https?:/|www\.)\S+"
    r"|(?<![\w@.])[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*"
    r"\.(?:com|net|org|edu|gov|info|co\.uk|ly|gd|fm|tv)(?:/\S*|(?![\w.-]))",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<![\w@])@\w+")
_HASHTAG = re.compile(r"(?<![\w#])#(?=\w*[^\W\d_])(\w+)")
_THREE = re.compile(r"(\S)\1\1")
_LONG_WORD = re.compile(r"([^\W\d_])\1\1+")
_LONG_SIGN = re.compile(r"([^\w\s])\1\1\1+")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def unescape(text: str) -> str:
    """Replace HTML entities by their characters: ``&amp;`` by ``&``."""
    # an entity may stand for a line feed; pieces are delimited by spaces only
    return (
        _ENTITY.sub(lambda m: html.unescape(m[0]).replace("\n", " "), text) if "&" in text else text
    )


def _decode(match: re.Match[str]) -> str:
    try:
        return match[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return match[0]


def mend_mojibake(text: str) -> str:
    """Mend characters whose UTF-8 bytes were read as latin-1, each on its own: ``Ã©`` is ``é``."""
    return text if text.isascii() else _MOJIBAKE.sub(_decode, text)


def plain_punctuation(text: str) -> str:
    """Write curly quotes, dashes and the ellipsis in ASCII; drop characters without width."""
    return text if text.isascii() and "`" not in text else text.translate(_PLAIN)


def replace_urls(text: str) -> str:
    """Replace web addresses by ``<url>``."""
    return _URL.sub(f" {URL} ", text) if "." in text or "/" in text else text


def replace_users(text: str) -> str:
    """Replace user names by ``<user>``."""
    return _USER.sub(f" {USER} ", text) if "@" in text else text


def mark_hashtags(text: str) -> str:
    """Replace the sign of a hashtag by ``<hashtag>`` and keep its word."""
    return _HASHTAG.sub(rf" {HASHTAG} \1 ", text) if "#" in text else text


def lower_case(text: str) -> str:
    """Write everything in lower case."""
    return text.lower()


def _shorten_word(match: re.Match[str]) -> str:
    word, n = _LONG_WORD.subn(r"\1\1\1", match[0])
    return f"{word} {LONG} " if n else word


def shorten_elongations(text: str) -> str:
    """Cut letters that occur three times or more in a row to three, and mark the word with ``<long>``.

    Signs that occur more than three times in a row are cut to three, without a mark.
    """
    if not _THREE.search(text):
        return text
    return _LONG_SIGN.sub(r"\1\1\1", _WORD.sub(_shorten_word, text))


def squeeze_spaces(text: str) -> str:
    """One space between words, none at the ends."""
    return " ".join(text.split())


@dataclass(frozen=True)
class CleaningStep:
    """One step of the cleaning: its name, the function, and a text that it changes."""

    name: str
    function: Callable[[str], str]
    example: str


CLEANING_STEPS: tuple[CleaningStep, ...] = (
    CleaningStep("unescape HTML", unescape, "fish &amp; chips &lt;3"),
    CleaningStep("mend mojibake", mend_mojibake, "cafÃ© in MalmÃ¶"),
    CleaningStep("plain punctuation", plain_punctuation, "it’s “fine” …"),
    CleaningStep("urls", replace_urls, "look http://bit.ly/x1 and www.example.org"),
    CleaningStep("users", replace_users, "@maria thanks!"),
    CleaningStep("hashtags", mark_hashtags, "at last #vacation"),
    CleaningStep("lower case", lower_case, "I am NOT happy"),
    CleaningStep("elongations", shorten_elongations, "sooooo good!!!!!!"),
    CleaningStep("spaces", squeeze_spaces, "  too   many  spaces "),
)


def clean_tweet(text: str) -> str:
    """Apply all cleaning steps in order.

    Example:
        >>> clean_tweet("@Maria I can't beliiiieve it &lt;3 http://t.co/x #Happy")
        "<user> i can't beliiieve <long> it <3 <url> <hashtag> happy"
    """
    for step in CLEANING_STEPS:
        text = step.function(text)
    return text


# ------------------------------------------------------------------------------------------ tokenising

_TOKEN = re.compile(
    r"<(?:user|url|hashtag|long)>"  # the placeholders
    r"|<+/?3+"  # hearts
    r"|[>}]?[:;=][-o'~^]?(?:[)(\]\[/\\|*@$}{]|[dpo3](?![^\W_]))"  # :) ;-d =/
    r"|(?<![^\W_])(?:[)(\]\[]|d)[-o'~^]?[:;=](?![^\W_])"  # (: d:
    r"|\^[_.]*\^|-[_.]+-|=_+=|>[_.]+<|t_+t(?![^\W_])|o[_.]+o(?![^\W_])"  # ^_^ -_- t_t o_o
    r"|[^\W_]+(?:['-][^\W_]+)*"  # words with their apostrophes: can't
    r"|([^\w\s])\1*"  # signs, repeated ones together: !!!
    r"|_+"
)


def tokenise(clean: str) -> list[str]:
    """Cut a cleaned text into words, placeholders, emoticons and runs of one sign.

    Contractions stay whole (``can't``), so a negation is one token.

    Example:
        >>> tokenise("<user> i can't wait !!! :d")
        ['<user>', 'i', "can't", 'wait', '!!!', ':d']
    """
    return [match[0] for match in _TOKEN.finditer(clean)]


# pieces that need no cleaning: plain words with some sign behind them, users, addresses
_PLAIN_PIECE = re.compile(r"([A-Za-z]+)((?:([.,!?])\3?)?)")
_USER_PIECE = re.compile(r"@[A-Za-z0-9_]+")
_URL_PIECE = re.compile(r"https?://[!-%'-~]+")


def _piece_tokens(piece: str) -> list[str]:
    """``tokenise(clean_tweet(piece))`` of a text without spaces, sooner."""
    if plain := _PLAIN_PIECE.fullmatch(piece):
        word = plain[1].lower()
        if not _THREE.search(word):
            return [word, plain[2]] if plain[2] else [word]
    elif _USER_PIECE.fullmatch(piece):
        return [USER]
    elif _URL_PIECE.fullmatch(piece):
        return [URL]
    return tokenise(clean_tweet(piece))


def tokenise_many(
    texts: Iterable[str] | pa.Array, *, chunk: int = 200_000
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clean and tokenise many texts, each distinct space-delimited piece once.

    Args:
        texts: The raw texts, any number; strings or an Arrow array of strings.
        chunk: So many texts are worked on at a time.

    Returns:
        tokens: int32 ``[total]``, all tokens of all texts end to end, as indices into ``types``.
        offsets: int64 ``[n + 1]``, text ``i`` has ``tokens[offsets[i]:offsets[i + 1]]``.
        types: The distinct tokens, the most frequent first, equally frequent ones in alphabetical order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.large_string())
    split = [pc.split_pattern(array.slice(i, chunk), " ") for i in range(0, len(array), chunk)]
    coded = pa.chunked_array([part.flatten() for part in split], array.type).dictionary_encode()
    pieces = coded.chunk(coded.num_chunks - 1).dictionary.to_pylist() if len(array) else []
    types: dict[str, int] = {}
    lengths = np.zeros(len(pieces), np.int64)  # tokens of each distinct piece
    table: list[int] = []  # the tokens of all distinct pieces end to end
    for i, piece in enumerate(pieces):
        tokens = _piece_tokens(piece)
        lengths[i] = len(tokens)
        table.extend([types.setdefault(token, len(types)) for token in tokens])
    names = list(types)
    starts = np.cumsum(lengths) - lengths
    # number the types by falling frequency
    uses = np.bincount(
        np.concatenate([np.zeros(0, np.int64), *map(_codes, coded.chunks)]), None, len(pieces)
    )
    counts = np.bincount(table, np.repeat(uses, lengths), len(names)).astype(np.int64).tolist()
    order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    ranked = rank[np.asarray(table, np.int64)]
    tokens_of, lengths_of = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
    for part, codes in zip(split, map(_codes, coded.chunks), strict=True):
        count = lengths[codes]  # tokens of each piece, [P]
        done = np.concatenate(([0], np.cumsum(count)))
        shift = np.repeat(starts[codes] - done[:-1], count)  # [T]
        tokens_of.append(ranked[shift + np.arange(len(shift))])
        ends = np.cumsum(part.value_lengths().to_numpy(zero_copy_only=False))
        lengths_of.append(np.diff(done[ends], prepend=0))
    return (
        np.concatenate(tokens_of),
        np.cumsum(np.concatenate(lengths_of)),
        [names[i] for i in order],
    )


def _codes(chunk: pa.DictionaryArray) -> np.ndarray:
    return chunk.indices.to_numpy(zero_copy_only=False)


# ------------------------------------------------------------------------------------------ vocabulary

PAD, UNK, SOS, EOS = "<pad>", "<unk>", "<sos>", "<eos>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids: the specials first, then the rest as given.

    Args:
        tokens: Ordinary tokens, without the specials.
        specials: Special tokens; they take the first ids. Unknown tokens get the id of ``<unk>``.
    """

    tokens: tuple[str, ...]
    specials: tuple[str, ...] = (PAD, UNK)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "specials", tuple(self.specials))
        if len(self.index) != len(self.specials) + len(self.tokens):
            raise ConfigError("A vocabulary names a token twice; give each token once.")

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        specials: Sequence[str] = (PAD, UNK),
        min_count: int = 1,
        max_size: int | None = None,
    ) -> Vocabulary:
        """The frequent tokens, sorted by falling count and then alphabetically.

        Args:
            counts: How often each token occurs.
            specials: Special tokens; left out of the counted ones.
            min_count: Rarer tokens are left out.
            max_size: At most so many ids, the specials included.
        """
        kept = [t for t, n in counts.items() if n >= min_count and t not in specials]
        kept.sort(key=lambda token: (-counts[token], token))
        if max_size is not None:
            kept = kept[: max(0, max_size - len(specials))]
        return cls(tuple(kept), tuple(specials))

    @cached_property
    def index(self) -> dict[str, int]:
        """Id of each token."""
        return {token: i for i, token in enumerate((*self.specials, *self.tokens))}

    @cached_property
    def _all(self) -> list[str]:
        return [*self.specials, *self.tokens]

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, token: object) -> bool:
        return token in self.index

    def __getitem__(self, token: str) -> int:
        try:
            return self.index[token]
        except KeyError:
            if UNK in self.index:
                return self.index[UNK]
            raise DataError(
                f"Token {token!r} is not in the vocabulary, which has no {UNK}; add {UNK} to its specials."
            ) from None

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of the tokens; unknown ones become ``<unk>``."""
        return [self[token] for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of the ids."""
        return [self._all[int(i)] for i in ids]

    def to_list(self) -> list[str]:
        """All tokens in the order of their ids, the specials first; made for a JSON file."""
        return list(self._all)

    @classmethod
    def from_list(cls, tokens: Sequence[str], specials: Sequence[str] = (PAD, UNK)) -> Vocabulary:
        """The vocabulary whose :meth:`to_list` gave ``tokens``.

        Raises:
            DataError: If the list does not begin with the specials.
        """
        if tuple(tokens[: len(specials)]) != tuple(specials):
            raise DataError(
                f"The stored vocabulary begins with {list(tokens[: len(specials)])} and not with "
                f"{list(specials)}; train again, or give the specials that it was made with."
            )
        return cls(tuple(tokens[len(specials) :]), tuple(specials))
