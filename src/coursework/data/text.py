"""Cleaning and tokenising of tweets, and the vocabulary.

Cleaning is a list of small steps that mend what the crawl broke and replace what cannot generalise. What
carries sentiment stays: stop words, punctuation, emoticons, a mark for elongated words.
"""

import html
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coursework.errors import ConfigError, DataError

USER, URL, HASHTAG, LONG = "<user>", "<url>", "<hashtag>", "<long>"
CHUNK = 200_000  # texts that are split at a time

# what html.unescape looks for, so that it can be applied entity by entity
_ENTITY = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
# UTF-8 sequences of two to four bytes that were read as latin-1
_MOJIBAKE = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LISTED = tomllib.loads(Path(__file__).with_name("signs.toml").read_text(encoding="utf-8"))
_CLEANED, _TYPED = (
    {sign: plain for plain, signs in _LISTED[name].items() for sign in signs}
    for name in ("cleaned", "typed")
)
_WIDE = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)}  # full-width forms
SIGNS: dict[str, str] = _CLEANED | _TYPED | _WIDE
"""Typographic sign -> how it is typed; what people write to a trained model is read through this table."""
URL_PATTERN = re.compile(
    r"(?:https?:/|www\.)\S+"
    r"|(?<![\w@.])[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*"
    r"\.(?:com|net|org|edu|gov|info|co\.uk|ly|gd|fm|tv)(?:/\S*|(?![\w.-]))",
    re.IGNORECASE,
)
USER_PATTERN = re.compile(r"(?<![\w@])@\w+")
_HASHTAG = re.compile(r"(?<![\w#])#(?=\w*[^\W\d_])(\w+)")
_THREE = re.compile(r"(\S)\1\1")
_LONG_WORD = re.compile(r"([^\W\d_])\1\1+")
_LONG_SIGN = re.compile(r"([^\w\s])\1\1\1+")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def unescape(text: str) -> str:
    """Replace HTML entities by their characters: ``&amp;`` by ``&``."""
    # an entity may stand for a line feed; pieces are delimited by spaces only
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]).replace("\n", " "), text)


def _decode(match: re.Match[str]) -> str:
    try:
        return match[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return match[0]


def mend_mojibake(text: str) -> str:
    """Mend characters whose UTF-8 bytes were read as latin-1, each on its own: ``Ã©`` is ``é``."""
    return text if text.isascii() else _MOJIBAKE.sub(_decode, text)


def _as_typed(text: str, table: dict[int, str]) -> str:
    return text if text.isascii() and "`" not in text else text.translate(table)


plain_punctuation = partial(_as_typed, table=str.maketrans(_CLEANED))  # for the trainings
plain_signs = partial(_as_typed, table=str.maketrans(SIGNS))  # for prediction


def replace_urls(text: str) -> str:
    return URL_PATTERN.sub(f" {URL} ", text) if "." in text or "/" in text else text


replace_users = partial(USER_PATTERN.sub, f" {USER} ")
mark_hashtags = partial(_HASHTAG.sub, rf" {HASHTAG} \1 ")  # the word stays


def _shorten_word(match: re.Match[str]) -> str:
    word, n = _LONG_WORD.subn(r"\1\1\1", match[0])
    return f"{word} {LONG} " if n else word


def shorten_elongations(text: str) -> str:
    """Cut letters in a row to three and mark the word with ``<long>``; cut signs to three, unmarked."""
    if not _THREE.search(text):
        return text
    return _LONG_SIGN.sub(r"\1\1\1", _WORD.sub(_shorten_word, text))


class CleaningStep(NamedTuple):
    name: str
    function: Callable[[str], str]
    example: str  # a text that it changes


CLEANING_STEPS: tuple[CleaningStep, ...] = (
    CleaningStep("unescape HTML", unescape, "fish &amp; chips &lt;3"),
    CleaningStep("mend mojibake", mend_mojibake, "cafÃ© in MalmÃ¶"),
    CleaningStep("plain punctuation", plain_punctuation, "it’s “fine” …"),
    CleaningStep("urls", replace_urls, "look http://bit.ly/x1 and www.example.org"),
    CleaningStep("users", replace_users, "@maria thanks!"),
    CleaningStep("hashtags", mark_hashtags, "at last #vacation"),
    CleaningStep("lower case", str.lower, "I am NOT happy"),
    CleaningStep("elongations", shorten_elongations, "sooooo good!!!!!!"),
    CleaningStep("spaces", lambda text: " ".join(text.split()), "  too   many  spaces "),
)


def clean_tweet(text: str, steps: Sequence[CleaningStep] = CLEANING_STEPS) -> str:
    """Apply the cleaning steps in order."""
    for step in steps:
        text = step.function(text)
    return text


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
    """Cut a cleaned text into words, placeholders, emoticons and runs of one sign."""
    return [match[0] for match in _TOKEN.finditer(clean)]


# user names, links, and ASCII words with a run of one sign behind them: little is to be cleaned
_PLAIN = re.compile(
    r"(?:(@[A-Za-z0-9_]+(?<![Ww]{3}))|(https?://[!-%'-~]+)|([A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*))"
    r"((?:([.,!?])\5*)?)"
)


def _tokens_of(piece: str) -> list[str]:
    """``tokenise(clean_tweet(piece))`` of a text without spaces; most take the short cut."""
    if (found := _PLAIN.fullmatch(piece)) and not (found[3] and _THREE.search(found[3].lower())):
        first = found[3].lower() if found[3] else USER if found[1] else URL
        return [first, found[4][:3]] if found[4] else [first]
    return tokenise(clean_tweet(piece))


# tokens of all texts end to end, int32 indices into types; text i has those from offsets[i] to
# offsets[i + 1], int64; types: the distinct tokens, by falling frequency, then alphabetically
Tokens = tuple[np.ndarray, np.ndarray, list[str]]


class Pieces(NamedTuple):
    """Texts as sequences of space-delimited pieces, ready to be cleaned in one way or another."""

    distinct: list[str]  # each piece once
    codes: np.ndarray  # the pieces of all texts as indices into ``distinct``
    offsets: np.ndarray  # text i has the pieces from offsets[i] to offsets[i + 1]

    @classmethod
    def of(cls, array: pa.Array) -> Self:
        """Split texts at their spaces."""
        index: dict[str, int] = {}
        codes, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int32)]
        for start in range(0, len(array), CHUNK):
            split = pc.split_pattern(array.slice(start, CHUNK), " ")
            coded = split.flatten().dictionary_encode()
            known = [index.setdefault(piece, len(index)) for piece in coded.dictionary.to_pylist()]
            codes.append(np.array(known, np.int32)[coded.indices.to_numpy()])
            lengths.append(split.value_lengths().to_numpy())
        return cls(list(index), np.concatenate(codes), np.cumsum(np.concatenate(lengths)))

    def tokenise(self, steps: Sequence[CleaningStep] = CLEANING_STEPS) -> Tokens:
        """Clean and tokenise; every step must look at one piece at a time, as ours do."""
        usual, ids = steps == CLEANING_STEPS, dict[str, int]()
        cut = _tokens_of if usual else lambda piece: tokenise(clean_tweet(piece, steps))
        rows = [[ids.setdefault(t, len(ids)) for t in cut(piece)] for piece in self.distinct]
        found = pa.array(rows, pa.list_(pa.int32())).take(self.codes)
        offsets = found.offsets.to_numpy()[self.offsets].astype(np.int64)
        return _join([(found.flatten().to_numpy(), offsets, list(ids))])


def _join(parts: Sequence[Tokens]) -> Tokens:
    """Join parts; number the tokens by their frequency in all of them."""
    counts: Counter[str] = Counter()
    for tokens, _, names in parts:
        used = np.bincount(tokens, minlength=len(names)).tolist()
        counts.update(dict(zip(names, used, strict=True)))
    types = sorted(counts)
    types.sort(key=counts.__getitem__, reverse=True)  # equal counts stay in alphabetical order
    rank = {name: i for i, name in enumerate(types)}
    joined = [np.array([rank[n] for n in names], np.int32)[tokens] for tokens, _, names in parts]
    lengths = np.concatenate([np.diff(offsets) for _, offsets, _ in parts])
    return np.concatenate(joined), np.concatenate(([0], np.cumsum(lengths))), types


def tokenise_many(array: pa.Array, *, processes: int | None = None) -> Tokens:
    """Clean and tokenise many texts, each distinct piece once, in several processes if there are many."""
    import joblib

    if processes is None:
        processes = max(1, min(joblib.cpu_count(), 4, len(array) // 100_000))
    if processes == 1:
        return Pieces.of(array).tokenise()
    parts = (array.take(rows) for rows in np.array_split(np.arange(len(array)), processes))
    one = joblib.delayed(partial(tokenise_many, processes=1))
    return _join(joblib.Parallel(processes)(one(part) for part in parts))


def read_lines(file: Path, say: Callable[[str], object]) -> list[str]:
    """Lines of a file in UTF-8, UTF-16 with its mark, or else Windows' Western encoding (and says so)."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}; name a text file.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); name a text file.") from error
    if not raw.strip():
        raise DataError(f"{file} is empty; write one text per line.")
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        say(f"{file} is not UTF-8; read as Windows-1252.")
        text = raw.decode("cp1252", errors="replace")
    if "\0" in text:
        raise DataError(f"{file} holds zero bytes; name a text file in UTF-8.")
    # not splitlines(), which also cuts at form feeds and other signs within a line
    return re.split(r"\r\n?|\n", re.sub(r"(\r\n?|\n)\Z", "", text))


PAD, UNK, SOS, EOS = "<pad>", "<unk>", "<sos>", "<eos>"
PAD_ID, UNK_ID, SOS_ID, EOS_ID = range(4)  # their ids in every vocabulary that has them


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids: the specials first, then ``tokens``; unknown ones get that of ``<unk>``."""

    tokens: tuple[str, ...]
    specials: tuple[str, ...] = (PAD, UNK)

    def __post_init__(self) -> None:
        if len(self.index) != len(self.specials) + len(self.tokens):
            raise ConfigError("A vocabulary names a token twice; give each token once.")

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        specials: Sequence[str] = (PAD, UNK),
        max_size: int | None = None,
    ) -> Self:
        """Tokens by falling count, then alphabetically; ``max_size`` counts the specials as well."""
        kept = [t for t in counts if t not in specials]
        kept.sort(key=lambda token: (-counts[token], token))
        if max_size is not None:
            kept = kept[: max(0, max_size - len(specials))]
        return cls(tuple(kept), tuple(specials))

    @cached_property
    def index(self) -> dict[str, int]:
        """Id of each token, in the order of the ids."""
        return {token: i for i, token in enumerate((*self.specials, *self.tokens))}

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, token: object) -> bool:
        return token in self.index

    def __getitem__(self, token: str) -> int:
        if (found := self.index.get(token, self.index.get(UNK))) is None:
            what = f"Token {token!r} is not in the vocabulary, which has no {UNK}"
            raise DataError(f"{what}; add {UNK} to its specials.")
        return found

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of the tokens; unknown ones become ``<unk>``."""
        return [self[token] for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        wanted, known = [int(i) for i in ids], self.to_list()
        if wanted and not 0 <= min(wanted) <= max(wanted) < len(known):
            what = f"There are ids from {min(wanted)} to {max(wanted)}, but the vocabulary has"
            remedy = "decode with the vocabulary that they were made with"
            raise DataError(f"{what} those from 0 to {len(known) - 1}; {remedy}.")
        return [known[i] for i in wanted]

    def to_list(self) -> list[str]:
        """All tokens in the order of their ids, the specials first."""
        return list(self.index)

    @classmethod
    def from_list(cls, tokens: Sequence[str], specials: Sequence[str] = (PAD, UNK)) -> Self:
        """The vocabulary whose :meth:`to_list` gave ``tokens``."""
        first, rest = list(tokens[: len(specials)]), tuple(tokens[len(specials) :])
        if first != list(specials):
            what = f"The stored vocabulary begins with {first} and not with {list(specials)}"
            raise DataError(f"{what}; train again.")
        return cls(rest, tuple(specials))
