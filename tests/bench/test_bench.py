"""The benchmark: what it measures, what it leaves, and counted stand-ins for speed.

Nothing here is timed. What makes a row fast is counted instead: operations, tensors, calls.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from coursework.data import m2nist, text
from coursework.models.lstm import LSTM
from coursework.report import store
from coursework.report.questions import NOTEBOOKS
from coursework.theory.cost import measure, peak_bytes
from coursework.training import engine
from coursework_tools.bench import gauges, harness, layers, work
from coursework_tools.bench import run as bench
from coursework_tools.bench.harness import Gauge, Pair
from coursework_tools.publishing import readme, speed
from coursework_tools.publishing import run as notebooks

TINY = harness.BenchConfig(
    rounds=2, warmup=0, device="cpu", nodes=60, edges=120, features=8, dense_nodes=30,
    lstm_sizes=(4,), lstm_batch=2, lstm_steps=3, decode_batch=2, decode_words=4,
    attention_tokens=16, tweets=20, all_tweets=False, canvases=4, looped_canvases=2, buckets=2,
    bucket_size=8, trainings=(), growth={"edges": (400, 800), "tokens": (8, 16),
                                         "pixels": (1024,), "words": (10, 20), "tweets": (10, 20)},
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(harness.PRESETS, "quick", TINY)


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def operations(step: Callable[[], Any]) -> Counter[str]:
    with Operations() as counter:
        step()
    return counter.calls


def pair(ours: Callable[[], Any], peer: Callable[[], Any] = int, **options: Any) -> Pair:
    return Pair("a.vs_b", "", ours, peer, **options)


def test_a_row_has_quartiles_memory_and_its_share_of_the_limit() -> None:
    run = bench.run(["gat"], "quick")
    row = run.notes["rows"][0]
    assert row["key"] == "gat.vs_pyg"
    low, middle, high = row["ratio"]
    assert 0 < low <= middle <= high
    assert run.metrics["gat.vs_pyg"] == middle
    assert (row["rounds"], row["threads"], row["goal"]) == (2, 1, None)
    assert min(row["memory"]) > 0
    assert row["share"] == pytest.approx(row["limit"] / row["ours"][1])
    assert set(run.notes["limit"]) == {"matrix products, GFLOP/s", "memory, GB/s"}
    assert run.config.device == "cpu"


def test_pairs_of_work_take_turns(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_lengths", lambda most: (np.repeat([1, 2, 3], 8), "tweets"))
    run = bench.run(["cora", "attention", "tokens", "canvases", "buckets"], "quick")
    assert " ".join(run.metrics) == (
        "cora.gcn_epoch_vs_pyg cora.gat_epoch_vs_pyg attention.linear_vs_softmax tokens.vs_apply "
        "canvases.vs_pixel_loop canvases.vs_digit_loop buckets.vs_padded"
    )
    assert all(value > 0 for value in run.metrics.values())


def test_threads_are_fixed_and_given_back() -> None:
    before, seen = torch.get_num_threads(), []
    one = pair(lambda: seen.append(torch.get_num_threads()), memory="none")
    bench._timed(one, TINY)
    bench._timed(replace(one, threads=2), TINY)
    assert seen == [1, 1, 2, 2]
    assert torch.get_num_threads() == before


def test_all_cores_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers.os, "cpu_count", lambda: 3)
    assert {one.threads for one in layers.cores(TINY)} == {3}


def test_a_goal_is_met_from_its_side() -> None:
    for key, value, goal, met in (
        ("gat.vs_pyg", 1.0, "≥ 1", True),
        ("gat.vs_pyg", 0.9, "≥ 1", False),
        ("load.cora_seconds", 2.0, "≤ 2", True),
        ("training.cora_outside_share", 0.11, "≤ 0.1", False),
        ("training.cora_per_second", 1.0, None, None),
    ):
        assert harness.judged(key, value) == {"goal": goal, "met": met}


def test_the_limit_is_the_longer_of_arithmetic_and_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "limit", lambda device, count: (100.0, 10.0))
    one = pair(int, flops=200.0, bytes=50.0)
    assert bench._timed(one, TINY)["limit"] == 5.0
    assert bench._timed(replace(one, flops=2000.0), TINY)["limit"] == 20.0


def test_memory_of_tensors_is_counted_with_gradients() -> None:
    x = torch.ones(1000, requires_grad=True)
    # the square, its sum and one gradient of the size of x at least
    assert 2 * 4000 <= peak_bytes(lambda: (x * x).sum().backward()) <= 5 * 4000
    assert harness.peak_memory(lambda: np.zeros(10**6, np.uint8), "python") > 10**6
    assert harness.peak_memory(lambda: None, "none") is None


def test_times_the_lstm_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(harness.PRESETS, "quick", replace(TINY, rounds=1, lstm_sizes=(4, 6)))
    monkeypatch.setattr(layers, "LSTM_SIZE", 6)
    result = bench.run(["lstm"], "quick")
    assert " ".join(result.metrics) == (
        "lstm.h4_vs_builtin lstm.h4_forward_vs_builtin lstm.vs_builtin lstm.forward_vs_builtin "
        "lstm.hoisted_vs_naive lstm.vs_naive"
    )
    assert all(ratio > 0 for ratio in result.metrics.values())
    assert 256 in harness.PRESETS["full"].lstm_sizes  # the key lstm.vs_builtin exists


def test_compares_lstms_that_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def keep(module: Callable[..., Any], *inputs: Any) -> Callable[[], None]:
        output = module(*inputs)
        seen.append((output[0] if isinstance(output, tuple) else output).flatten(0, -2))  # [T*B, H]
        return lambda: None

    monkeypatch.setattr(layers, "_train_step", keep)
    monkeypatch.setattr(layers, "LSTM_SIZE", 6)
    list(layers.lstm(replace(TINY, lstm_sizes=(6,))))
    assert len(seen) == 6
    for output in seen[1:]:
        torch.testing.assert_close(output, seen[0], atol=2e-6, rtol=0)


def test_swaps_the_order_every_round() -> None:
    order: list[str] = []
    one = pair(lambda: order.append("a"), lambda: order.append("b"))
    ours, peer = harness.measure(one, rounds=3, warmup=1)
    assert "".join(order) == "baabbaab"
    assert len(ours) == len(peer) == 3


def test_loops_compose_the_same_canvases() -> None:
    images, labels = work.digits(20)
    ours = m2nist.compose(images, labels, 6, np.random.default_rng(3))
    for by_pixel in (False, True):
        pixels, masks = work.compose_in_a_loop(images, labels, 6, by_pixel, seed=3)
        np.testing.assert_array_equal(pixels, ours.images)
        np.testing.assert_array_equal(masks, ours.masks)


@pytest.mark.parametrize(
    ("ours", "peer", "expected"),
    [
        ((4.0, 4.0, 4.0), (1.0, 4.0, 16.0), 200.0),  # as fast at the middle size
        ((2.0, 2.0, 2.0), (1.0, 1.0, 4.0), 200 * 2**0.5),
        ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), 100.0),  # everywhere faster
        ((2.0, 2.0, 2.0), (1.0, 1.0, 1.0), None),
    ],
)
def test_crossover(ours: Any, peer: Any, expected: float | None) -> None:
    found = gauges.crossover((100, 200, 400), ours, peer)
    assert found == (None if expected is None else pytest.approx(expected))


def test_growth_curves_and_their_exponents(standin: Path) -> None:
    found = list(gauges.growth(TINY))
    memory = {one.key: one.value for one in found if isinstance(one, Gauge)}
    assert memory["growth.gat_edges_memory"] == pytest.approx(1, abs=0.15)
    assert memory["growth.dense_gat_edges_memory"] > 1.5
    assert [point["size"] for point in found[0][1]] == [400, 800]


def test_seconds_of_the_notebooks_come_from_the_last_whole_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COURSEWORK_BUILD", str(tmp_path))
    assert not list(gauges.notebooks())
    outcomes = [notebooks.Execution(name, tmp_path, 2.0) for name in NOTEBOOKS]
    notebooks.keep_seconds(outcomes[1:])  # not all of them
    assert not list(gauges.notebooks())
    notebooks.keep_seconds([replace(outcomes[0], error="cell 1 ends in ..."), *outcomes[1:]])
    assert not list(gauges.notebooks())
    notebooks.keep_seconds(outcomes)
    found = {gauge.key: gauge.value for gauge in gauges.notebooks()}
    assert found["notebook.all_seconds"] == 2.0 * len(NOTEBOOKS)
    assert len(found) == len(NOTEBOOKS) + 1


def test_where_the_time_of_a_training_goes() -> None:
    def loss(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        return model(batch).square().sum(), len(batch)

    record = engine.fit(
        nn.Linear(2, 1), engine.Plan(epochs=2, learning_rate=0.1, precision="32-true"), loss=loss,
        batches=lambda epoch: [torch.ones(3, 2)], validate=lambda model: {"loss": 0.0}, log=None,
    )  # fmt: skip
    assert 0 < record.step_seconds <= record.seconds
    assert record.validation_seconds > 0
    fit = engine.Fit(seconds=10.0, step_seconds=9.0, validation_seconds=2.5, samples=60)
    rate, outside, evaluation = gauges.shares("cora", [fit, fit])
    assert (rate.value, evaluation.value) == (6.0, 0.2)
    assert outside.value == pytest.approx(0.1)


def test_a_training_is_measured(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = ["pairs=60", "transformer=none", "rnn.plan.epochs=1"]
    monkeypatch.setitem(harness.TOML["short"], "translation", short)
    assert next(gauges.training(replace(TINY, trainings=("translation",)))).value > 0


def recorded(folder: Path) -> dict[str, Any]:
    run = bench.run(["gcn"], "quick")
    run.notes["rows"].append(
        {"key": "load.cora_seconds", "what": "cora", "value": 3.0, "unit": "s",
         "spread": (2.5, 3.5), "goal": "≤ 2", "met": False}
    )  # fmt: skip
    run.metrics["load.cora_seconds"] = 3.0
    run.curves["gat_edges"] = [{"size": 10.0, "seconds": 1.0, "bytes": 5.0}]
    store.write(store.make_record("bench", [run]), folder)
    return store.read("bench", folder)


def test_the_record_becomes_a_table_of_its_page_and_plots(tmp_path: Path) -> None:
    page = "docs/benchmark.md"
    text = "\nold\n".join(readme.markers("bench"))
    assert speed.NOTHING in readme.render(page, text, tmp_path)
    drawn = speed.plot(recorded(tmp_path), tmp_path / "figures")
    assert drawn == ["bench_ratios", "bench_growth"]
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == set(drawn)
    rendered = readme.render(page, text, tmp_path)
    assert "old" not in rendered
    assert "| gcn.vs_pyg |" in rendered
    assert "| load.cora_seconds | cora | 3 s | – | – | 2.5 to 3.5 | ≤ 2 ✗ |" in rendered
    assert "`load.cora_seconds`" in rendered.partition("goals are reached; missed: ")[2]
    assert readme.render(page, rendered, tmp_path) == rendered


def lstm_step(steps: int, hidden: int = 8) -> Callable[[], Any]:
    layer = LSTM(4, hidden)
    x = torch.ones(steps, 2, 4)
    return lambda: layer(x)[0].sum().backward()


PRODUCTS = {"addmm", "addmm_", "mm", "bmm"}


def test_lstm_operations_of_a_time_step() -> None:
    short, long = (operations(lstm_step(steps)) for steps in (6, 16))
    views = {"select", "slice", "t", "transpose", "detach"}
    grown = {name: (long[name] - short[name]) / 10 for name in long.keys() - views}
    # forward 1 product and 7 pointwise operations, backward 1 product and 5: fewer would be news
    assert sum(grown.values()) <= 14, grown
    assert sum(grown[name] for name in grown.keys() & PRODUCTS) == 2
    # the gradients of the weights are one product each
    assert sum(long[name] for name in PRODUCTS) <= 2 * 16 + 5


def test_gat_makes_nothing_of_all_pairs() -> None:
    nodes, edges, cpu = 200, 800, "cpu"
    gat, dense = (peak_bytes(gauges.graph_step(kind, cpu, edges)) for kind in ("gat", "dense"))
    assert gat <= 16 * (edges + nodes) * 16 * 4  # at most 16 arrays of 16 numbers an edge or node
    assert dense >= nodes**2 * 8 * 4 * 4  # the pairs of 8 heads, four numbers each


@pytest.mark.parametrize("kind", ["gcn", "gat"])
def test_graph_layers_sort_nothing_in_a_training_step(kind: str) -> None:
    step = gauges.graph_step(kind, "cpu", 80)
    step()  # remembers how the matrix is transposed
    assert not [name for name in operations(step) if "sort" in name or "unique" in name]


def test_the_cache_saves_four_fifths_of_the_arithmetic() -> None:
    config = replace(TINY, decode_batch=1, decode_words=24)
    beam = next(one for one in layers.decode(config) if one.key == "decode.beam5_vs_uncached")
    cached, uncached = measure(beam.ours), measure(beam.peer)
    assert uncached.multiply_adds > 5 * cached.multiply_adds


def test_each_distinct_piece_is_cleaned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = Mock(side_effect=text.clean_tweet)
    monkeypatch.setattr(text, "clean_tweet", clean)
    tweets = pa.array(["gooood :-) #news &amp;", "#news gooood gooood"] * 50, pa.large_string())
    text.tokenise_many(tweets, processes=1)
    cleaned = [call.args[0] for call in clean.call_args_list]
    assert sorted(cleaned) == sorted(set(cleaned))
    assert 1 <= len(cleaned) <= 4
