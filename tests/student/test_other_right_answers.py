"""Right answers that are written in another way than the solutions get full marks too."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from solved_edition import BY_NAME, solved

from coursework_tools.student import edition, markers, runner

OTHERS: list[tuple[str, dict[str, str]]] = [
    (
        "LSTMCell",
        {
            "lstm_update": """
                H = c.shape[-1]
                i, f, g, o = (gates[..., k * H : (k + 1) * H] for k in range(4))
                c = c / (1 + (-f).exp()) + i.sigmoid() * g.tanh()
                return o.sigmoid() * c.tanh(), c
            """,
            "LSTMCell.forward": """
                gates = input @ self.weight_ih.T + h @ self.weight_hh.T
                if self.bias:
                    gates = gates + self.bias_ih + self.bias_hh
                return lstm_update(gates, c)
            """,
        },
    ),
    (
        "LSTM",
        {
            "LSTM._scan": """
                h, c = state
                outputs = [None] * len(x)
                for t in reversed(range(len(x))) if reverse else range(len(x)):
                    gates = x[t] @ weight_ih.T + h @ weight_hh.T
                    h, c = lstm_update(gates if bias is None else gates + bias, c)
                    outputs[t] = h
                return torch.cat(outputs), (h, c)
            """
        },
    ),
    (
        "attention",
        {
            "attention_weights": """
                scale = scale or Q.shape[-1] ** -0.5
                scores = torch.einsum("...nd,...md->...nm", Q, K) * scale
                return masked_softmax(_apply_mask(scores, mask, causal))
            """
        },
    ),
    (
        "MultiHeadAttention",
        {
            "MultiHeadAttention.forward": """
                weights = attention_weights(Q, K, mask=mask, causal=causal)
                dropped = nn.functional.dropout(weights, self.dropout, self.training)
                heads = torch.einsum("bhnm,bhmd->bnhd", dropped, V)
                return self.W_O(heads.reshape(len(heads), -1, self.d_model)), weights
            """
        },
    ),
    (
        "EncoderLayer",
        {
            "EncoderLayer.forward": """
                def attend(y):
                    return self.self_attention(
                        y, mask=mask, key_padding_mask=key_padding_mask, causal=causal
                    )[0]

                if self.norm_first:
                    x = x + self.dropout(attend(self.norm1(x)))
                    return x + self.dropout(self.feed_forward(self.norm2(x)))
                x = self.norm1(x + self.dropout(attend(x)))
                return self.norm2(x + self.dropout(self.feed_forward(x)))
            """
        },
    ),
    (
        "components",
        {
            # depth first, over a matrix
            "components": """
                near = torch.zeros(num_nodes, num_nodes, dtype=torch.bool)
                near[edge_index[0], edge_index[1]] = True
                near = near | near.T
                number = torch.full((num_nodes,), -1)
                for start in range(num_nodes):
                    if number[start] >= 0:
                        continue
                    number[start] = found = int(number.max()) + 1
                    stack = [start]
                    while stack:
                        fresh = (near[stack.pop()] & (number < 0)).nonzero().flatten()
                        number[fresh] = found
                        stack += fresh.tolist()
                return number
            """
        },
    ),
    (
        "normalise_adjacency",
        {
            "normalise_adjacency": """
                A = torch.zeros(num_nodes, num_nodes)
                A[edge_index[1], edge_index[0]] = 1
                A.fill_diagonal_(1)
                D = torch.diag(A.sum(1) ** -0.5)
                return (D @ A @ D).to_sparse_csr()
            """
        },
    ),
    (
        "GraphAttentionLayer",
        {
            # all pairs, as the assignment's comments say
            "GraphAttentionLayer.forward": """
                n = len(h)
                s = self.transform(h)
                s_i, s_j = s.repeat_interleave(n, dim=0), s.repeat(n, 1, 1)
                pairs = torch.cat([s_i, s_j], dim=-1).view(n, n, self.n_heads, -1)
                e = F.leaky_relu((pairs * torch.cat([self.a_l, self.a_r], -1)).sum(-1), self.alpha)
                source, target = edges_of(adj, n)
                mask = torch.zeros(n, n, dtype=torch.bool)
                mask[target, source] = True
                a = e.masked_fill(~mask.unsqueeze(-1), -torch.inf).softmax(dim=1)
                a = F.dropout(a, self.dropout, self.training)
                return self.combine(torch.einsum("ijh,jhf->ihf", a, s))
            """
        },
    ),
    (
        "UNet",
        {
            "UNet.__init__": """
                first, second = down
                self.downs = nn.ModuleList([Down(in_channels, first), Down(first, second)])
                self.bottleneck = Block(second, bottleneck)
                self.ups = nn.ModuleList([Up(bottleneck, second, up[0]), Up(up[0], first, up[1])])
                self.output = nn.Conv2d(up[1], out_channels, 1)
            """
        },
    ),
]


@pytest.mark.parametrize(("name", "answers"), OTHERS, ids=[name for name, _ in OTHERS])
def test_another_right_answer_gets_full_marks(
    name: str, answers: dict[str, str], tmp_path: Path
) -> None:
    task = BY_NAME[name]
    text = solved(task.module)
    for region in markers.regions(edition.source_of(task.module)):
        if region.where in answers:
            answer = textwrap.dedent(answers[region.where]).strip()
            code = "\n".join(region.code)
            assert code in text
            text = text.replace(code, textwrap.indent(answer, region.indent), 1)
    path = tmp_path / "answer.py"
    path.write_text(text, encoding="utf-8")
    report = runner.judge(task, path)
    assert report.remarks == ()
    assert report.passed == report.total
