"""Problem 4: the graph attention network, beside its equations for all pairs of nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coursework.models import gat as solution
from coursework.student import remarks as r
from coursework.student.checks import (
    Finding,
    Known,
    Task,
    gradients,
    parameter_gradients,
    quiet_in_eval,
    same,
    scatter,
    surely,
    take_weights,
)

LAYER = Task("GraphAttentionLayer", 4, "3.4", "models.gat", ("edge_softmax", "GraphAttentionLayer"))
GAT = Task("GAT", 4, "3.4", "models.gat", ("GAT",))

# directed, a loop at every node
EDGES = torch.tensor([[0, 1, 3, 3, 2, 0, 1, 2, 3, 4], [1, 2, 1, 0, 3, 0, 1, 2, 3, 4]])
NODES = 5


def _layers(m: Any, dropout: float = 0.0, **options: Any) -> tuple[Any, Any]:
    """The student's layer and ours: 6 features, 3 heads of 4 units."""
    concat = options.get("is_concat", True)
    width = 12 if concat else 4
    trusted = solution.GraphAttentionLayer(6, width, 3, dropout=dropout, **options)
    scatter(trusted)
    own = m.GraphAttentionLayer(6, width, 3, dropout=dropout, **options)
    for name in ("a_l", "a_r"):
        vector = getattr(own, name, None)
        if isinstance(vector, Tensor) and len(vector) != len(getattr(trusted, name)):
            raise Finding(r.VECTORS)
    return take_weights(own, trusted), trusted


def _drops(build: Callable[[float], tuple[Any, Any]]) -> None:
    """Nothing is dropped in evaluation, and everything in training with probability one."""
    x = torch.randn(NODES, 6)
    own, trusted = build(0.5)
    own.eval(), trusted.eval()
    quiet_in_eval(lambda: own(x, EDGES), trusted(x, EDGES))
    own, trusted = build(1.0)
    whole = trusted.eval()(x, EDGES)
    known = [(r.DROPOUT_NEVER, whole)]
    same(own.train()(x, EDGES), torch.zeros_like(whole), known, otherwise=r.DROPOUT_PLACE)


def _softmax(scores: Tensor, group: Tensor) -> Tensor:
    """Softmax over the edges of each group."""
    weights = torch.zeros_like(scores)
    for node in group.unique():
        weights[group == node] = scores[group == node].softmax(0)
    return weights


def _scores(
    layer: Any, s: Tensor, activation: Callable[[Tensor], Tensor], swapped: bool = False
) -> Tensor:
    source, target = EDGES.flip(0) if swapped else EDGES
    left, right = (s * layer.a_l).sum(-1), (s * layer.a_r).sum(-1)
    return activation(left[target] + right[source])


def _leaky(slope: float) -> Callable[[Tensor], Tensor]:
    return lambda x: F.leaky_relu(x, slope)


@LAYER.check
def softmax_of_edges(m: Any) -> None:
    scores, (source, target) = torch.randn(EDGES.shape[1], 2), EDGES
    known: Known = [
        (r.SOFTMAX_OUTGOING, _softmax(scores, source)),
        (r.SOFTMAX_ALL_EDGES, scores.softmax(0)),
        (r.SOFTMAX_AXIS, scores.softmax(1)),
    ]
    right = _softmax(scores, target)
    same(m.edge_softmax(scores, target, NODES), right, known, what="the softmax over the edges")


@LAYER.check
def softmax_of_large_scores(m: Any) -> None:
    scores, target = 2000 * torch.randn(EDGES.shape[1], 2), EDGES[1]
    got = m.edge_softmax(scores, target, NODES)
    if isinstance(got, Tensor) and not bool(got.isfinite().all()):
        raise Finding(r.OVERFLOW)
    right = _softmax(scores, target)
    same(got, right, what="the softmax of large scores")


@LAYER.check
def weights(m: Any) -> None:
    own, trusted = _layers(m)
    s, (source, target) = torch.randn(NODES, 3, 4), EDGES
    scores = _scores(trusted, s, _leaky(0.2))
    left, right = (s * trusted.a_l).sum(-1)[target], (s * trusted.a_r).sum(-1)[source]
    apart = F.leaky_relu(left, 0.2) + F.leaky_relu(right, 0.2)
    known: Known = [
        *(
            (r.SLOPE, _softmax(_scores(trusted, s, _leaky(a)), target))
            for a in (0.01, 0.0, 0.8, 5.0)
        ),
        (r.SCORES_NOT_ACTIVATED, _softmax(left + right, target)),
        (r.ACTIVATED_APART, _softmax(apart, target)),
        (r.ENDS_SWAPPED, _softmax(_scores(trusted, s, _leaky(0.2), swapped=True), target)),
        (r.SOFTMAX_OUTGOING, _softmax(scores, source)),
        (r.SOFTMAX_OUTGOING, _softmax(_scores(trusted, s, _leaky(0.2), swapped=True), source)),
        (r.SOFTMAX_ALL_EDGES, scores.softmax(0)),
        (r.SOFTMAX_AXIS, scores.softmax(1)),
    ]
    got = own.edge_attention(s, EDGES)
    same(got, _softmax(scores, target), known, what="the weights of the edges")


@LAYER.check
def concatenated(m: Any) -> None:
    _output(m, is_concat=True)


@LAYER.check
def averaged(m: Any) -> None:
    _output(m, is_concat=False)


@LAYER.check
def shared(m: Any) -> None:
    _output(m, share_attention=True)


def _output(m: Any, **options: Any) -> None:
    own, trusted = _layers(m, **options)
    h, (source, target) = torch.randn(NODES, 6), EDGES
    s = trusted.W(h).view(NODES, 3, 4)
    scores = _scores(trusted, s, _leaky(0.2))
    alpha = _softmax(scores, target).unsqueeze(2)  # [E, K, 1]

    def gather(values: Tensor, ends: Tensor) -> Tensor:
        return torch.zeros(NODES, 3, 4).index_add(0, ends, values)

    sums = gather(alpha * s[source], target)
    mixed = trusted.W(h).view(NODES, 4, 3).transpose(1, 2)
    other = _softmax(_scores(trusted, mixed, _leaky(0.2)), target).unsqueeze(2)
    concat = options.get("is_concat", True)

    def join(values: Tensor) -> Tensor:
        return values.flatten(1) if concat else values.mean(1)

    swapped = _softmax(_scores(trusted, s, _leaky(0.2), swapped=True), target).unsqueeze(2)
    backwards = _softmax(_scores(trusted, s, _leaky(0.2), swapped=True), source).unsqueeze(2)
    wrong_slopes = [
        _softmax(_scores(trusted, s, _leaky(slope)), target).unsqueeze(2) for slope in (0.01, 0.8)
    ]
    known: Known = [
        (r.OWN_MESSAGES, join(gather(alpha * s[target], target))),
        (r.EDGE_DIRECTION, join(gather(alpha * s[target], source))),
        (r.EDGE_DIRECTION, join(gather(backwards * s[target], source))),
        (r.EDGE_DIRECTION, join(gather(alpha * s[source], source))),
        (r.HEADS_INTERLEAVED, sums.transpose(1, 2).flatten(1)),
        (r.HEADS_INTERLEAVED, join(gather(other * mixed[source], target))),
        (r.HEADS_SUMMED, sums.sum(1)),
        (r.HEADS_WRONG_WAY, sums.mean(1) if concat else sums.flatten(1)),
        (r.ENDS_SWAPPED, join(gather(swapped * s[source], target))),
        *((r.SLOPE, join(gather(w * s[source], target))) for w in wrong_slopes),
    ]
    what = ", ".join(f"{name}={value}" for name, value in options.items())
    same(own(h, EDGES), join(sums), known, what=f"the layer's output with {what}")


@LAYER.check
def matrix_in_place_of_edges(m: Any) -> None:
    own, _ = _layers(m)
    h, a = torch.randn(NODES, 6), torch.zeros(NODES, NODES)
    a[EDGES[1], EDGES[0]] = 1.0
    same(own(h, a), own(h, EDGES), what="the output for a matrix in place of an edge list")


@LAYER.check
def strangers(m: Any) -> None:
    own, _ = _layers(m)
    h = torch.randn(NODES, 6)
    before = own(h, EDGES)
    h[0] = 7.0  # 0 -> 1 and 0 -> 0
    surely(own(h, EDGES)[2:], before[2:], r.STRANGERS_SEEN)


@LAYER.check
def layer_dropout(m: Any) -> None:
    _drops(lambda dropout: _layers(m, dropout))


@LAYER.check
def layer_gradients(m: Any) -> None:
    own, trusted = _layers(m)
    h = torch.randn(NODES, 6)
    gradients(lambda h: own(h, EDGES), lambda h: trusted(h, EDGES), h=h)
    parameter_gradients(own, trusted, lambda module: module(h, EDGES))


# --- the network -------------------------------------------------------------------------------


def _networks(m: Any, dropout: float) -> tuple[Any, solution.GAT]:
    trusted = solution.GAT(6, 12, 4, dropout, 0.2, 3)
    scatter(trusted)
    return take_weights(m.GAT(6, 12, 4, dropout, 0.2, 3), trusted), trusted


@GAT.check
def network(m: Any) -> None:
    own, trusted = _networks(m, 0.0)
    x = torch.randn(NODES, 6)
    first, second = (
        lambda z, layer=layer: layer(z, EDGES) for layer in (trusted.layer1, trusted.layer2)
    )
    right = second(F.elu(first(x)))
    known: Known = [
        (r.HIDDEN_ACTIVATION, second(F.relu(first(x)))),
        (r.HIDDEN_ACTIVATION, second(F.leaky_relu(first(x), 0.2))),
        (r.HIDDEN_ACTIVATION, second(first(x))),
        (r.LAST_ACTIVATED, F.elu(right)),
        (r.SOFTMAX_AT_END, right.softmax(1)),
        (r.SOFTMAX_AT_END, right.log_softmax(1)),
    ]
    same(own(x, EDGES), right, known, what="the matrix of logits")


@GAT.check
def network_slope(m: Any) -> None:
    trusted = solution.GAT(6, 12, 4, 0.0, 0.7, 3)
    scatter(trusted)
    own = take_weights(m.GAT(6, 12, 4, 0.0, 0.7, 3), trusted)
    x = torch.randn(NODES, 6)
    same(own(x, EDGES), trusted(x, EDGES), otherwise=r.SLOPE)


@GAT.check
def network_dropout(m: Any) -> None:
    _drops(lambda dropout: _networks(m, dropout))


@GAT.check
def network_gradients(m: Any) -> None:
    own, trusted = _networks(m, 0.0)
    x = torch.randn(NODES, 6)
    parameter_gradients(own, trusted, lambda module: module(x, EDGES))
