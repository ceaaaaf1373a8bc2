"""The writeup: ``writeup/solutions.typ`` typeset as ``writeup/solutions.pdf``.

The Typst sources hold the words. What is measured comes from the recorded results, what is code from
the source files, and what is claimed and checked from :mod:`coursework.theory.claims`: all three are
read while the document is typeset, so that none can drift from what it tells of.

The same inputs give the same bytes: no date, no system font, no network. A digest of all inputs is kept
in the document's keywords, which tells a stale PDF from a fresh one without typesetting it anew (and
with any version of Typst).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coursework import settings
from coursework.errors import ResultsError
from coursework.report import alt, questions, store
from coursework.report.source import MARKER

if TYPE_CHECKING:
    import typst

REQUIRED: tuple[str, ...] = (
    "bench",
    "cora-best",
    "cora-converged",
    "cora-full",
    "cora-grand",
    "segmentation-deep",
    "sentiment-best",
    "sentiment-full",
    "sentiment_study-full",
    "translation-full",
    "translation-full-pretrained",
    "translation-tutorial",
    "translation-tutorial-leaky",
    "translation_ensemble-full",
    "translation_all-brief",
    "translation_all-brief-pretrained",
    "translation_all-full",
    "translation_all-rnn",
    "translation_all-rnn-pretrained",
    "tweets-full",
    "wikipedia-crocodile",
    "wikipedia-crocodile-plain",
    "wikipedia-full",
    "wikipedia-squirrel",
    "wikipedia-squirrel-plain",
)
"""Results that the text cannot do without: the document is not typeset where one is missing."""

OPTIONAL: tuple[str, ...] = (
    "cora-citeseer",
    "cora-planetoid",
    "segmentation-full",
)
"""Results that the text shows if they are there; in their place it says "not recorded yet"."""


# ------------------------------------------------------------------------------------ code listings


@dataclass
class Line:
    """A line of a listing; ``number`` is its place in the file, 0 for a gap."""

    number: int
    text: str
    marked: bool = False


@dataclass(frozen=True)
class Listing:
    """Code that is cut out of a source file, docstrings and argument checks left out.

    Attributes:
        path: The file, below ``src/coursework``.
        objects: Classes, functions or ``Class.method``, in the order in which they are shown.
        marks: The essential lines: each one contains one of these texts, and each text occurs.
    """

    path: str
    objects: tuple[str, ...]
    marks: tuple[str, ...]


LISTINGS: dict[str, Listing] = {
    "LSTMCell": Listing(
        "models/lstm.py",
        ("lstm_update", "LSTMCell"),
        (
            "i, f, g, o = gates.chunk(4, dim=-1)",
            "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)",
            "h = torch.sigmoid(o) * torch.tanh(c)",
            "gates = F.linear(input, self.weight_ih, self.bias_ih)",
            "gates = gates + F.linear(h, self.weight_hh, self.bias_hh)",
            "return lstm_update(gates, c)",
        ),
    ),
    "MultiHeadAttention": Listing(
        "models/attention.py",
        (
            "MultiHeadAttention.__init__",
            "MultiHeadAttention._split",
            "MultiHeadAttention.forward",
        ),
        (
            "return x.unflatten(-1, (self.n_heads, self.d_k)).transpose(1, 2)",
            "Q = self._split(self.W_Q(query))",
            "K = self._split(self.W_K(key))",
            "V = self._split(self.W_V(value))",
            "weights = attention_weights(Q, K, mask=mask, causal=causal)",
            "heads = dropout(weights, p) @ V",
            "self.W_O(heads.transpose(1, 2).flatten(2))",
        ),
    ),
    "EncoderLayer": Listing(
        "models/transformer.py",
        (
            "FeedForward.forward",
            "EncoderLayer.__init__",
            "EncoderLayer.forward",
            "EncoderLayer._residual",
        ),
        (
            "hidden = _ACTIVATIONS[self.activation](self.linear1(x))",
            "self.linear2(self.dropout(hidden))",
            "output, _ = self.self_attention(",
            "x = self._residual(x, attend, self.norm1)",
            "return self._residual(x, self.feed_forward, self.norm2)",
            "return x + self.dropout(sublayer(norm(x)))",
            "norm(x + self.dropout(sublayer(x)))",
        ),
    ),
    "PlainGraphConvolution": Listing(
        "models/graph_conv.py",
        ("aggregate", "PlainGraphConvolution.forward"),
        (
            "messages = x.index_select(0, source)",
            ".index_add(0, target, messages)",
            "return total / count.to(total.dtype).unsqueeze(1)",
            "self.W_1(gathered) + self.W_2(x)",
        ),
    ),
    "GraphConvolution": Listing(
        "models/gcn.py",
        ("GraphConvolution",),
        (
            "self.linear = FeatureLinear(in_features, out_features, bias=bias)",
            "return multiply(adj, self.linear(input))",
        ),
    ),
    "GCN": Listing(
        "models/gcn.py",
        ("GCN",),
        (
            "self.gc1 = GraphConvolution(nfeat, n_hidden, bias, bias_after)",
            "self.gc2 = GraphConvolution(n_hidden, n_classes, bias, bias_after)",
            "h = self.relu(self.gc1(x, adj))",
            "self.gc2(self.dropout(h), adj)",
        ),
    ),
    "GraphAttentionLayer": Listing(
        "models/gat.py",
        ("edge_softmax", "GraphAttentionLayer"),
        (
            "numerator = (scores - highest.index_select(0, target)).exp()",
            ".index_add(0, target, numerator)",
            "return numerator / denominator.index_select(0, target)",
            "self.W = FeatureLinear(in_features, n_heads * self.n_hidden, bias=False)",
            "self.a_l = nn.Parameter(",
            "self.a_r = nn.Parameter(",
            "return s.view(-1, self.n_heads, self.n_hidden)",
            "left = (s * self.a_l).sum(dim=-1)",
            "right = (s * self.a_r).sum(dim=-1)",
            "scores = left.index_select(0, target) + right.index_select(0, source)",
            "return edge_softmax(F.leaky_relu(scores, self.alpha), target, s.shape[0])",
            "output = h_prime.flatten(1) if self.is_concat else h_prime.mean(dim=1)",
            "s = self.transform(h)",
            "weights = self.edge_attention(s, edge_index)",
            "weights = dropout(weights, self.dropout, self.training)",
            "kept = dropout(s, self.message_dropout, self.training)",
            "messages = weights.unsqueeze(2) * kept.index_select(0, source)",
            ".index_add(0, target, messages.to(s.dtype))",
        ),
    ),
    "GAT": Listing(
        "models/gat.py",
        ("GAT",),
        (
            "extra = (alpha, share_attention, bias, dropout if drop_messages else 0.0)",
            "self.layer1 = GraphAttentionLayer(nfeat, n_hidden, n_heads, True, dropout, *extra)",
            "self.layer2 = GraphAttentionLayer(n_hidden, n_classes, 1, False, dropout, *extra)",
            "h = F.elu(self.layer1(x, edge_index))",
            "self.layer2(h, edge_index)",
        ),
    ),
    "Down": Listing(
        "models/unet.py",
        ("Block", "Down"),
        (
            "nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)",
            "nn.BatchNorm2d(out_channels)",
            "nn.ReLU(inplace=True)",
            "self.block(x)  # [B, C_out, H, W]",
            "self.pool(skip)",
            "return pooled, skip",
        ),
    ),
    "Up": Listing(
        "models/unet.py",
        ("Up",),
        (
            "nn.ConvTranspose2d(in_channels, in_channels, kernel_size=2, stride=2)",
            "self.block = Block(in_channels + skip_channels, out_channels, convolutions)",
            "x = self.upsample(x)",
            "x = torch.cat([x, skip_connection], dim=1)",
            "output: Tensor = self.block(x)",
        ),
    ),
    "UNet": Listing(
        "models/unet.py",
        ("UNet",),
        (
            "Down(channels[level], channels[level + 1], convolutions)",
            "self.bottleneck = Block(channels[-1], bottleneck, convolutions)",
            "Up(below[level], skip, below[level + 1], convolutions)",
            "self.output = nn.Conv2d(below[-1], out_channels, kernel_size=1)",
            "x, skip = down(x)",
            "torch.zeros_like(skip) if self.disable_skip_connections else skip",
            "x = self.bottleneck(x)",
            "x = up(x, skips.pop())",
            "logits: Tensor = self.output(x)",
        ),
    ),
}
"""Name in the document -> code and its essential lines; the only place where lines are marked."""


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@functools.lru_cache(maxsize=32)
def _parsed(path: Path) -> tuple[ast.Module, list[str]]:
    text = path.read_text(encoding="utf-8")
    return ast.parse(text), text.splitlines()


def _find(body: list[ast.stmt], name: str, where: str) -> Definition:
    for node in body:
        if isinstance(node, Definition) and node.name == name:
            return node
    raise ResultsError(f"{where} has no {name} any more; mend LISTINGS in publishing/writeup.py.")


def _docstrings(node: ast.AST) -> set[int]:
    """Numbers of the lines that belong to docstrings below ``node``."""
    found: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, Definition) and ast.get_docstring(part) is not None:
            text = part.body[0]
            found |= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return found


def _only_raises(node: ast.stmt) -> bool:
    """Whether a statement does nothing but check arguments and raise."""
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.If):
        return not node.orelse and all(map(_only_raises, node.body))
    return isinstance(node, ast.For) and all(map(_only_raises, node.body))


def _argument_checks(node: ast.AST) -> set[int]:
    """Numbers of the lines that check arguments below ``node``."""
    found: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.stmt) and _only_raises(part):
            found |= set(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    return found


def cut(listing: Listing) -> list[Line]:
    """The lines of a listing without docstrings and argument checks, the essential ones marked.

    Raises:
        ResultsError: If an object is gone, or a mark is on none of its lines.
    """
    path = settings.repo_root() / "src" / "coursework" / listing.path
    module, lines = _parsed(path)
    chosen: list[int] = []
    shown_classes: set[str] = set()
    for name in listing.objects:
        owner, _, method = name.partition(".")
        node = _find(module.body, owner, listing.path)
        numbers: list[int] = []
        if method:
            if owner not in shown_classes:
                numbers += [0, node.lineno] if chosen else [node.lineno]
                shown_classes.add(owner)
            node = _find(node.body, method, listing.path)
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        markers = {n for n, line in enumerate(lines, 1) if MARKER.match(line)}
        left_out = _docstrings(node) | _argument_checks(node) | markers
        numbers += [n for n in range(first, (node.end_lineno or first) + 1) if n not in left_out]
        chosen += [0, *numbers] if chosen and not method else numbers
        if method:
            chosen.append(0)
    rows = _without_double_blanks([Line(n, lines[n - 1] if n else "") for n in chosen])
    for mark in listing.marks:
        hits = [row for row in rows if mark in row.text]
        if not hits:
            raise ResultsError(
                f"{listing.path} has no line with {mark!r} any more; mend LISTINGS in "
                "publishing/writeup.py."
            )
        for row in hits:
            row.marked = True
    return rows


def _without_double_blanks(rows: list[Line]) -> list[Line]:
    """Taking docstrings out leaves blank lines at odd places: keep one in a row, none at the ends."""
    kept: list[Line] = []
    for row in rows:
        if not row.text.strip() and (not kept or not kept[-1].text.strip()):
            continue
        kept.append(row)
    while kept and not kept[-1].text.strip():
        kept.pop()
    return kept


# ----------------------------------------------------------------------------------- the document


def folder() -> Path:
    """Folder of the Typst sources.

    Raises:
        ResultsError: If there is none (the package is installed without the checkout).
    """
    path = settings.repo_root() / "writeup"
    if not (path / "solutions.typ").is_file():
        raise ResultsError(
            f"There is no writeup at {path}; run `coursework report` inside a checkout."
        )
    return path


def inputs() -> dict[str, str]:
    """What is handed to Typst: names of the results, code, claims, questions, and the digest.

    Raises:
        ResultsError: If a required result is missing, a result is from stand-in data, or a listing
            does not fit its source.
    """
    from coursework.theory import claims

    names = store.names()
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ResultsError(
            f"The writeup needs the results {', '.join(missing)}, which are not in "
            f"{settings.results_dir()}; them from git or record them again (see `make full`)."
        )
    for name in names:
        if name in (*REQUIRED, *OPTIONAL) and store.read(name)["data"]["standin"]:
            raise ResultsError(f"Result {name} is from stand-in data; remove it from the results.")
    values = {
        "recorded": json.dumps(names),
        "required": json.dumps(REQUIRED),
        "optional": json.dumps(OPTIONAL),
        "listings": json.dumps(
            {
                name: {
                    "path": f"src/coursework/{listing.path}",
                    "lines": [asdict(line) for line in cut(listing)],
                }
                for name, listing in LISTINGS.items()
            }
        ),
        "claims": json.dumps([claim.as_record() for claim in claims.CLAIMS]),
        "questions": json.dumps([asdict(question) for question in questions.QUESTIONS]),
        "notebooks": json.dumps(questions.NOTEBOOKS),
        "alt": json.dumps(alt.ALT),
    }
    values["digest"] = _digest(values)
    return values


def _digest(values: dict[str, str]) -> str:
    """SHA-256 over everything that the document is made from."""
    root = settings.repo_root()
    digest = hashlib.sha256()
    for key, value in sorted(values.items()):
        digest.update(f"{key}={value}\n".encode())
    sources = sorted(path for path in folder().iterdir() if path.suffix in {".typ", ".bib"})
    sources += [settings.results_dir() / f"{name}.json" for name in (*REQUIRED, *OPTIONAL)]
    sources += sorted((folder() / "reading").glob("*.json"))
    sources += [root / "figures" / f"{name}.png" for name in figures()]
    for path in sources:
        if path.is_file():
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def figures() -> list[str]:
    """Names of the figures that the document shows."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder().glob("*.typ")))
    return sorted(set(re.findall(r'\bfig\("([\w-]+)"', text)))


def compiler() -> typst.Compiler:
    """Typst with everything handed in; also what can be asked about the document."""
    import typst

    return typst.Compiler(
        str(folder() / "solutions.typ"),
        root=str(settings.repo_root()),
        ignore_system_fonts=True,
        sys_inputs=inputs(),
    )


def typeset(form: Literal["pdf", "png"] = "pdf", *, ppi: float = 80) -> Any:
    """The document as bytes (``pdf``) or a list of bytes, one a page (``png``).

    Raises:
        ResultsError: If something that it is made from is missing or wrong.
    """
    import typst

    try:
        try:
            return compiler().compile(format=form, ppi=ppi, timestamp=0)
        except typst.TypstError as error:
            # Where a floating figure meets the end of a frame, Typst 0.15 may fail to close the tags
            # that screen readers follow. A document without them is better than none.
            if "tags weren't properly closed" not in str(error):
                raise
            return compiler().compile(format=form, ppi=ppi, timestamp=0, pdf_tags=False)
    except typst.TypstError as error:
        raise ResultsError(f"The writeup cannot be typeset: {error.diagnostic}".strip()) from error


def target() -> Path:
    """Where the document is kept."""
    return folder() / "solutions.pdf"


def write() -> Path:
    """Typeset the document and put it into place."""
    path = target()
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(typeset())
    os.replace(temporary, path)
    return path


def is_fresh() -> bool:
    """Whether the kept document was made from what is there now."""
    path = target()
    return path.is_file() and f"inputs-{inputs()['digest']}".encode() in path.read_bytes()
