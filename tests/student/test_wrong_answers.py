"""The solutions get full marks, and each typical wrong answer gets the remark that fits it."""

from __future__ import annotations

import pytest
from solved_edition import Change, Examine

from coursework.student import remarks as r
from coursework.student.remarks import Remark
from coursework.student.tasks import TASKS


@pytest.mark.parametrize("name", [task.name for task in TASKS])
def test_the_solution_gets_full_marks(name: str, examine: Examine) -> None:
    report = examine(name, [])
    assert report.remarks == ()
    assert report.passed == report.total > 0


CELL = "torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)"
HIDDEN = "torch.sigmoid(o) * torch.tanh(c)"
BOTH = "gates = gates + F.linear(h, self.weight_hh, self.bias_hh)"
SCORES = "scores = (Q * scale) @ K.transpose(-2, -1)"
MASKED = "return masked_softmax(_apply_mask(scores, mask, causal))"
JOIN = "self.W_O(heads.transpose(1, 2).flatten(2))"
POST = "output: Tensor = norm(x + self.dropout(sublayer(x)))"
PRE = "return x + self.dropout(sublayer(norm(x)))"
SUMS = "return scores.softmax(dim=-1)"
VALUES = "values = scale[target] * scale[source]"
DOWN = "pooled: Tensor = self.pool(skip)"

WRONG: list[tuple[str, list[Change], Remark]] = [
    # LSTM cell
    ("LSTMCell", [("i, f, g, o = gates", "f, i, g, o = gates")], r.GATE_ORDER),
    ("LSTMCell", [("i, f, g, o = gates", "i, f, o, g = gates")], r.GATE_ORDER),
    ("LSTMCell", [(CELL, CELL.replace("torch.sigmoid(f)", "(1 - torch.sigmoid(f))"))], r.FORGET_INVERTED),
    ("LSTMCell", [(CELL, CELL.replace("tanh", "sigmoid"))], r.CANDIDATE_SIGMOID),
    ("LSTMCell", [(HIDDEN, "torch.sigmoid(o) * c")], r.STATE_NOT_SQUASHED),
    ("LSTMCell", [("    c = torch.sigmoid(f)", "    old, c = c, torch.sigmoid(f)"),
                  (HIDDEN, "torch.sigmoid(o) * torch.tanh(old)")], r.OLD_STATE_SHOWN),
    ("LSTMCell", [("return h, c", "return c, h")], r.STATES_SWAPPED),
    ("LSTMCell", [(BOTH, BOTH.replace("bias_hh", "bias_ih"))], r.BIAS_SHARED),
    ("LSTMCell", [(BOTH, BOTH.replace(", self.bias_hh", ""))], r.BIAS_MISSING),
    ("LSTMCell", [(BOTH, "pass")], r.HIDDEN_IGNORED),
    # LSTM
    ("LSTM", [(' + getattr(self, f"bias_hh{suffix}")', "")], r.BIAS_MISSING),
    ("LSTM", [("(initial[0][index], initial[1][index])",
               "(0 * initial[0][index], 0 * initial[1][index])")], r.STATE_IGNORED),
    ("LSTM", [("            outputs: list[Tensor] = []",
               "            first = rows if layer == 0 else first\n            outputs = []"),
              ("                    rows, sizes, suffix", "                    first, sizes, suffix")],
     r.LAYERS_READ_INPUT),
    ("LSTM", [("return output.flatten(0, 1), (output[0 if",
               "return (output.flip(0) if reverse else output).flatten(0, 1), (output[0 if")],
     r.BACKWARD_NOT_TURNED),
    ("LSTM", [("bias, *state, reverse)", "bias, *state, False)"),
              ("output[0 if reverse else -1]", "output[-1]")], r.BACKWARD_READS_FORWARDS),
    ("LSTM", [("torch.cat(outputs, dim=-1)", "torch.cat(outputs[::-1], dim=-1)")], r.DIRECTIONS_SWAPPED),
    ("LSTM", [("return scan(rows, sizes,", "return scan(rows, [len(rows)],")], r.UNEQUAL_LENGTHS),
    ("LSTM", [("self.dropout, self.training)", "self.dropout)")], r.DROPOUT_IN_EVAL),
    ("LSTM", [("rows = F.dropout(rows, self.dropout, self.training)", "pass")], r.DROPOUT_NEVER),
    ("LSTM", [("            if layer > 0:\n    ", "            if layer > 0:\n                pass\n"),
              ("            rows = F.dropout(rows", "            rows = rows  # (rows"),
              ("        return rows, (torch.stack",
               "        rows = F.dropout(rows, self.dropout, self.training)\n"
               "        return rows, (torch.stack")], r.DROPOUT_LAST),
    # attention
    ("causal_mask", [(".tril()", ".tril(-1)")], r.CAUSAL_STRICT),
    ("causal_mask", [(".tril()", ".tril(1)")], r.CAUSAL_LATE),
    ("causal_mask", [(".tril()", ".triu()")], r.CAUSAL_TURNED),
    ("causal_mask", [(".tril()", ".triu(1)")], r.CAUSAL_OPPOSITE),
    ("attention", [(SUMS, "return scores.softmax(dim=-2)")], r.SOFTMAX_AXIS),
    ("attention", [(SCORES, "scores = Q @ K.transpose(-2, -1)")], r.NO_SCALE),
    ("attention", [("1.0 / math.sqrt(Q.shape[-1])", "1.0 / Q.shape[-1]")], r.SCALE_WRONG),
    ("attention", [("if scale is None else scale\n    scores", "\n    scores")], r.SCALE_IGNORED),
    ("attention", [(MASKED, "return scores.softmax(dim=-1)")], r.MASK_IGNORED),
    ("attention", [(MASKED, "return masked_softmax(_apply_mask(scores, ~mask if mask is not None and "
                            "mask.dtype == torch.bool else mask, causal))")], r.MASK_INVERTED),
    ("attention", [(MASKED, "allowed = _apply_mask(0 * scores, mask, causal)\n    "
                            "return scores.softmax(-1) * allowed.exp()")], r.MASK_AFTER_SOFTMAX),
    ("attention", [(MASKED, "masked = _apply_mask(scores, mask, causal)\n    "
                            "return masked.masked_fill(masked.isinf(), 0.0).softmax(-1)")], r.MASK_BY_ZERO),
    ("attention", [(MASKED, "return _apply_mask(scores, mask, causal).softmax(-1)")], r.EMPTY_ROW),
    ("attention", [("_apply_mask(scores, mask, causal)", "_apply_mask(scores, mask, False)")], r.FUTURE_SEEN),
    ("attention", [("F.normalize(Q, dim=-1), F.normalize(K, dim=-1)", "Q, K")], r.COSINE_NOT_NORMALISED),
    ("attention", [("F.normalize(Q, dim=-1), F.normalize(K, dim=-1)", "F.normalize(Q, dim=-1), K")],
     r.COSINE_HALF),
    ("attention", [("return weights @ V, weights", "return V.mean(-2, True).expand(*weights.shape[:-1], "
                    "V.shape[-1]), weights")], r.WEIGHTS_NOT_USED),
    ("MultiHeadAttention", [(JOIN, "self.W_O(heads.reshape(len(heads), -1, self.d_model))")],
     r.HEADS_NOT_JOINED),
    ("MultiHeadAttention", [("x.unflatten(-1, (self.n_heads, self.d_k)).transpose(1, 2)",
                             "x.reshape(len(x), self.n_heads, -1, self.d_k)")], r.HEADS_CUT_ACROSS),
    ("MultiHeadAttention", [(JOIN, "heads.transpose(1, 2).flatten(2)")], r.NO_OUTPUT_MAP),
    ("MultiHeadAttention", [("p = self.dropout if self.training else 0.0", "p = self.dropout")],
     r.DROPOUT_IN_EVAL),
    ("MultiHeadAttention", [("dropout(weights, p) @ V", "weights @ V")], r.DROPOUT_NEVER),
    ("MultiHeadAttention", [("        weights: Tensor | None = None",
                             "        mask = None\n        weights: Tensor | None = None")], r.PADDING_READ),
    # Transformer
    ("PositionalEncoding", [("torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)",
                             "torch.cat([angle.sin(), angle.cos()], dim=1)")], r.SINES_IN_HALVES),
    ("PositionalEncoding", [("[angle.sin(), angle.cos()]", "[angle.cos(), angle.sin()]")],
     r.SINE_COSINE_SWAPPED),
    ("PositionalEncoding", [("torch.arange(0, d_model, 2, dtype=torch.float64) / d_model",
                             "torch.arange((d_model + 1) // 2) / d_model")], r.FREQUENCIES),
    ("EncoderLayer", [(POST, "output = norm(self.dropout(sublayer(x)))"),
                      (PRE, "return self.dropout(sublayer(norm(x)))")], r.RESIDUAL_FORGOTTEN),
    ("EncoderLayer", [("return self._residual(x, self.feed_forward, self.norm2)",
                       "return self.norm2(self.feed_forward(x))")], r.RESIDUAL_ONCE),
    ("EncoderLayer", [(POST, "output = x + norm(self.dropout(sublayer(x)))")], r.NORM_BEFORE_SUM),
    ("EncoderLayer", [(POST, "output = norm((x + self.dropout(sublayer(x))).mT).mT")], r.NORM_AXIS),
    ("EncoderLayer", [(POST, "z = x + self.dropout(sublayer(x))\n        output = (z - z.mean(1, True)) / "
                             "(z.var(1, keepdim=True, unbiased=False) + norm.eps).sqrt() * norm.weight "
                             "+ norm.bias")], r.NORM_AXIS),
    ("EncoderLayer", [("if self.norm_first:", "if not self.norm_first:")], r.NORM_ORDER_SWAPPED),
    ("EncoderLayer", [("self.feed_forward, self.norm2)", "self.feed_forward, self.norm1)")], r.NORM_SHARED),
    ("EncoderLayer", [("_ACTIVATIONS[self.activation](self.linear1(x))", "self.linear1(x)")],
     r.ACTIVATION_MISSING),
    ("EncoderLayer", [("y, mask=mask, key_padding_mask=key_padding_mask, causal", "y, mask=mask, causal")],
     r.PADDING_READ),
    ("EncoderLayer", [("self.dropout(sublayer(x))", "F.dropout(sublayer(x), self.dropout.p)"),
                      ("import torch\n", "import torch\nimport torch.nn.functional as F\n")],
     r.DROPOUT_IN_EVAL),
    ("DecoderLayer", [("mask=key_padding_mask, causal=causal", "mask=key_padding_mask, causal=False")],
     r.FUTURE_SEEN),
    ("DecoderLayer", [("y, memory, mask=memory_mask", "y, y, mask=memory_mask")], r.CROSS_READS_ITSELF),
    ("DecoderLayer", [("        x = self._residual(x, attend_memory, self.norm2)\n", "")], r.CROSS_MISSING),
    ("DecoderLayer", [(", key_padding_mask=memory_key_padding_mask", "")], r.PADDING_READ),
    ("Transformer", [(" * math.sqrt(self.d_model)", "")], r.EMBEDDING_NOT_SCALED),
    ("Transformer", [("mask = padding if bool(padding.any()) else None", "mask = None")], r.PADDING_READ),
    ("Transformer", [("causal=caches is None", "causal=False")], r.FUTURE_SEEN),
    ("Transformer", [("math.sqrt(self.d_model), offset)", "math.sqrt(self.d_model))")], r.OFFSET_IGNORED),
    # graphs
    ("neighbours", [('if direction == "in"', 'if direction == "out"'),
                    ('elif direction == "out"', 'elif direction == "in"')], r.EDGE_DIRECTION),
    ("neighbours", [("return found[found != node].unique()", "return found[found != node]")], r.DUPLICATES),
    ("neighbours", [("return found[found != node].unique()", "return found.unique()")], r.ITSELF),
    ("components", [("        reach[target].append(source)\n", "")], r.DIRECTED_SEARCH),
    ("components", [("return torch.tensor(number", "number = [found - 1 - n for n in number]\n    "
                     "return torch.tensor(number")], r.NUMBERING),
    ("largest_component", [("position[edge_index[:, inside]]", "edge_index[:, inside]")], r.NOT_RENUMBERED),
    ("largest_component", [(".argmax()", ".argmin()")], r.LARGEST_NODES),
    ("aggregate", [("x.index_select(0, source)", "x.index_select(0, target)"),
                   ("index_add(0, target,", "index_add(0, source,")], r.EDGE_DIRECTION),
    ("aggregate", [("return total / count.to(total.dtype).unsqueeze(1)", "return total")], r.NOT_DIVIDED),
    ("aggregate", [(".clamp(min=1)", "")], r.ISOLATED),
    ("aggregate", [(".index_add(0, target, messages)", ".index_copy(0, target, messages)")], r.OVERWRITTEN),
    ("PlainGraphConvolution", [("self.W_1(gathered) + self.W_2(x)", "self.W_1(gathered)")],
     r.OWN_TERM_MISSING),
    ("PlainGraphConvolution", [("self.W_1(gathered) + self.W_2(x)", "self.W_2(gathered) + self.W_1(x)")],
     r.WEIGHTS_SWAPPED),
    ("PlainGraphConvolution", [("h if self.activation is None else self.activation(h)", "h")],
     r.NOT_ACTIVATED),
    # GCN
    ("normalise_adjacency", [("source, target = add_self_loops(edge_index, num_nodes).unique(dim=1)",
                              "source, target = edge_index.unique(dim=1)"),
                             ("scale = degree.rsqrt()", "scale = degree.clamp(min=1).rsqrt()")],
     r.LOOPS_MISSING),
    ("normalise_adjacency", [("edge_index[:, edge_index[0] != edge_index[1]], loops", "edge_index, loops")],
     r.LOOPS_DOUBLED),
    ("normalise_adjacency", [("torch.bincount(target, minlength", "torch.bincount(edge_index[1], minlength"),
                             ("degree.rsqrt()", "degree.clamp(min=1).rsqrt()")], r.LOOPS_NOT_IN_DEGREE),
    ("normalise_adjacency", [(VALUES, "values = 1 / degree[target]")], r.ROW_NORMALISED),
    ("normalise_adjacency", [(VALUES, "values = 1 / (degree[target] * degree[source])")], r.ROOT_MISSING),
    ("normalise_adjacency", [("return sparse_csr(target, source,", "return sparse_csr(source, target,")],
     r.EDGE_DIRECTION),
    ("GraphConvolution", [("return multiply(adj, self.linear(input))", "return self.linear(input)")],
     r.NOT_PROPAGATED),
    ("GraphConvolution", [("return multiply(adj, self.linear(input))",
                           "return multiply(adj.to_dense().t(), self.linear(input))")], r.EDGE_DIRECTION),
    ("GraphConvolution", [("if not self.bias_after or", "if self.bias_after or")], r.BIAS_PLACE),
    ("GCN", [("h = self.relu(self.gc1(x, adj))", "h = self.gc1(x, adj)")], r.ACTIVATION_MISSING),
    ("GCN", [("return logits", "return logits.log_softmax(1)")], r.SOFTMAX_AT_END),
    ("GCN", [("self.dropout(h)", "nn.functional.dropout(h, self.dropout.p)")], r.DROPOUT_IN_EVAL),
    # GAT
    ("GraphAttentionLayer", [("F.leaky_relu(scores, self.alpha)", "F.leaky_relu(scores)")], r.SLOPE),
    ("GraphAttentionLayer", [("F.leaky_relu(scores, self.alpha)", "scores")], r.SCORES_NOT_ACTIVATED),
    ("GraphAttentionLayer", [("left.index_select(0, target) + right.index_select(0, source)",
                              "left.index_select(0, source) + right.index_select(0, target)")],
     r.ENDS_SWAPPED),
    ("GraphAttentionLayer", [("self.alpha), target, s.shape[0])", "self.alpha), source, s.shape[0])")],
     r.SOFTMAX_OUTGOING),
    ("GraphAttentionLayer", [("(scores - highest.index_select(0, target)).exp()", "scores.exp()")],
     r.OVERFLOW),
    ("GraphAttentionLayer", [("kept.index_select(0, source)", "kept.index_select(0, target)"),
                             ("right.index_select", "right.index_select")], r.OWN_MESSAGES),
    ("GraphAttentionLayer", [("edge_index = edges_of(adj, s.shape[0])",
                              "edge_index = edges_of(adj, s.shape[0]).flip(0)")], r.EDGE_DIRECTION),
    ("GraphAttentionLayer", [("dropout(weights, self.dropout, self.training)",
                              "dropout(weights, self.dropout)")], r.DROPOUT_IN_EVAL),
    ("GraphAttentionLayer", [("h_prime.flatten(1)", "h_prime.transpose(1, 2).flatten(1)")],
     r.HEADS_INTERLEAVED),
    ("GraphAttentionLayer", [("h_prime.mean(dim=1)", "h_prime.sum(dim=1)")], r.HEADS_SUMMED),
    ("GraphAttentionLayer", [("vectors = 1 if share_attention else n_heads", "vectors = 1")], r.VECTORS),
    ("GAT", [("F.elu(", "F.relu(")], r.HIDDEN_ACTIVATION),
    ("GAT", [("extra = (alpha,", "extra = (0.2,")], r.SLOPE),
    # U-Net
    ("Down", [("skip: Tensor = self.block(x)", "skip = self.pool(self.block(x))"),
              (DOWN, "pooled = skip")], r.SKIP_POOLED),
    ("Down", [(DOWN, "pooled = self.pool(self.block(x))")], r.DOUBLE_CONVOLUTION),
    ("Down", [("nn.MaxPool2d(", "nn.AvgPool2d(")], r.AVERAGED),
    ("Down", [("return pooled, skip", "return skip, pooled")], r.RETURNED_SWAPPED),
    ("Down", [("                nn.BatchNorm2d(out_channels),\n", "")], r.BLOCK_NO_NORM),
    ("Up", [("torch.cat([x, skip_connection]", "torch.cat([skip_connection, x]")], r.CONCATENATION_ORDER),
    ("Up", [("torch.cat([x, skip_connection]", "torch.cat([x, 0 * skip_connection]")], r.SKIP_UNUSED),
    ("UNet", [("skips.pop()", "skips.pop(0)")], r.SKIPS_ORDER),
    ("UNet", [("torch.zeros_like(skip) if self.disable_skip_connections else skip", "skip")], r.SKIPS_STAY),
    ("UNet", [("        x = self.bottleneck(x)\n", "")], r.BOTTLENECK_MISSING),
    ("UNet", [("logits[:, :, :height, :width]", "logits[:, :, -height:, -width:]")], r.CUT_WRONG_SIDE),
    # the rest of the remarks
    ("LSTMCell", [("return h, c", "return h.detach(), c.detach()")], r.NO_GRADIENT),
    ("attention", [("scale = 1.0 if scale is None", "scale = Q.shape[-1] ** -0.5 if scale is None")],
     r.COSINE_SCALED),
    ("MultiHeadAttention", [("dropout(weights, p) @ V", "weights @ V"), (JOIN, f"dropout({JOIN}, p)")],
     r.DROPOUT_PLACE),
    ("EncoderLayer", [(POST, "output = x + self.dropout(sublayer(x))")], r.NORM_MISSING),
    ("EncoderLayer", [("return self._residual(x, self.feed_forward, self.norm2)", "return x")],
     r.FEED_FORWARD_MISSING),
    ("Transformer", [("self.position(self.src_embedding", "(self.src_embedding"),
                     ("self.position(self.tgt_embedding(tgt) * math.sqrt(self.d_model), offset)",
                      "self.tgt_embedding(tgt) * math.sqrt(self.d_model)")], r.POSITIONS_MISSING),
    ("neighbours", [("found != node].unique()", "found != node].unique().flip(0)")], r.NOT_SORTED),
    ("neighbours", [("torch.cat([source[target == node], target[source == node]])",
                     "source[target == node]")], r.ONE_DIRECTION_ONLY),
    ("components", [("        found += 1\n", "")], r.COMPONENTS_MERGED),
    ("components", [("        while queue:", "        if queue:")], r.COMPONENTS_SPLIT),
    ("components", [("        queue = deque([start])\n        while queue:\n",
                     "        def visit(node):\n"),
                    ("in reach[queue.popleft()]:", "in reach[node]:"),
                    ("queue.append(other)\n", "visit(other)\n        visit(start)\n")], r.SEARCH_TOO_DEEP),
    ("largest_component", [("keep = number == torch.bincount(number).argmax()",
                            "sizes = torch.bincount(number)\n    "
                            "keep = number == len(sizes) - 1 - sizes.flip(0).argmax()")], r.LARGEST_TIE),
    ("aggregate", [('if reduction == "sum"', "if False"), ('if reduction == "mean"', "if True")],
     r.DIVIDED_ALWAYS),
    ("aggregate", [("degrees(edge_index, num", "degrees(edge_index.flip(0), num")], r.DIVIDED_BY_OUT_DEGREE),
    ("aggregate", [("total / count.to(total.dtype).unsqueeze(1)", "total / num_nodes")], r.DIVIDED_BY_NODES),
    ("PlainGraphConvolution", [("self.W_1(gathered) + self.W_2(x)", "self.W_2(x)")], r.NEIGHBOURS_MISSING),
    ("normalise_adjacency", [(VALUES, "values = 1 / degree[source]")], r.COLUMN_NORMALISED),
    ("normalise_adjacency", [(VALUES, "values = torch.ones_like(scale[target])")], r.NOT_NORMALISED),
    ("GraphConvolution", [("multiply(adj, self.linear(input))",
                           "multiply(adj, multiply(adj, self.linear(input)))")], r.PROPAGATED_TWICE),
    ("GCN", [("return logits", "return logits.relu()")], r.LAST_ACTIVATED),
    ("GraphAttentionLayer", [("left.index_select(0, target) + right.index_select(0, source)",
                              "F.leaky_relu(left, self.alpha)[target] + "
                              "F.leaky_relu(right, self.alpha)[source]"),
                             ("edge_softmax(F.leaky_relu(scores, self.alpha)", "edge_softmax(scores")],
     r.ACTIVATED_APART),
    ("GraphAttentionLayer", [("edge_softmax(F.leaky_relu(scores, self.alpha), target, s.shape[0])",
                              "F.leaky_relu(scores, self.alpha).softmax(0)")], r.SOFTMAX_ALL_EDGES),
    ("GraphAttentionLayer", [("if self.is_concat else h_prime", "if not self.is_concat else h_prime")],
     r.HEADS_WRONG_WAY),
    ("GraphAttentionLayer", [("edge_index = edges_of(adj, s.shape[0])",
                              "edge_index = torch.cartesian_prod(*2 * [torch.arange(len(s))]).t()")],
     r.STRANGERS_SEEN),
    ("Down", [("return pooled, skip", "return pooled, x")], r.SKIP_RAW),
    ("Down", [("                nn.ReLU(inplace=True),\n", "")], r.BLOCK_NO_RELU),
    ("Down", [("                nn.BatchNorm2d(out_channels),\n                nn.ReLU(inplace=True),\n",
               "                nn.ReLU(inplace=True),\n                nn.BatchNorm2d(out_channels),\n")],
     r.BLOCK_ORDER),
    ("UNet", [("torch.zeros_like(skip) if self.disable_skip_connections else skip",
               "torch.zeros_like(skip)")], r.SKIPS_ALWAYS_OFF),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "remark"),
    WRONG,
    ids=[f"{name}-{remark.words[:40]}" for name, _, remark in WRONG],
)
def test_a_wrong_answer_gets_its_remark(
    name: str, changes: list[Change], remark: Remark, examine: Examine
) -> None:
    report = examine(name, changes)
    assert report.remarks[:1] == (remark,), [str(said) for said in report.remarks]
    assert report.passed < report.total


def test_every_remark_has_its_wrong_answer() -> None:
    remarks = {name for name, value in vars(r).items() if isinstance(value, Remark)}
    tried = {remark.words for _, _, remark in WRONG}
    assert {name for name in remarks if getattr(r, name).words not in tried} == set()
