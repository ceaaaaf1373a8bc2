"""The tables of problem 2(e) say what the records say."""

from typing import Any

from coursework.report import translation_tables


def _metric(mean: float, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "std": None, "values": [mean], **more}


RECORD: dict[str, Any] = {
    "config": {"beam": 5, "plan": {"epochs": 3}},
    "data": {"source": "made up"},
    "machine": {"processor": "abacus", "threads": 1, "device": "cpu"},
    "notes": {"parameters": 4321, "training_seconds": 600.0, "pairs": {"test": 12}},
    "metrics": {
        "test_bleu": _metric(48.25, low=47.1, high=49.4),
        "test_chrf": _metric(64.5),
        "test_exact_match": _metric(0.31),
        "test_bleu_multi": _metric(51.0),
        "test_match_multi": _metric(0.4),
        "test_greedy_bleu": _metric(47.0),
        "memory.test_bleu": _metric(8.0),
        "copy.test_bleu": _metric(0.2),
    },
}


def test_all_pairs() -> None:
    table = translation_tables.all_pairs({"rnn": RECORD, "full": RECORD})
    assert [row[0] for row in table.rows] == [
        "Transformer, own embeddings, 3 passes, beam 5",
        "the same, greedy",
        "GRU with attention, own embeddings, 3 passes, beam 5",
        "the same, greedy",
        "nearest training sentence",
        "source copied",
    ]
    assert list(table.rows[0])[1:] == [
        "48.2", "47.1 to 49.4", "64.5", "31.0%", "51.0", "40.0%", "4,321", "10", "abacus",
    ]  # fmt: skip
    assert table.rows[4][1] == "8.0"
    assert table.rows[5][7] == "–"


def test_by_length_groups_every_sentence_once() -> None:
    sources = ["un", "un deux trois quatre cinq", "a b c d e f g h i j k l m n", "un deux"]
    same = ["The first sentence is here.", "And the second one too.", "Third of them all.", "Last."]
    groups = translation_tables.by_length(sources, same, same)
    assert [group[0] for group in groups] == ["1 to 3", "4 to 5", "13+"]
    assert sum(group[1] for group in groups) == 4
    assert all(group[3] > 99.9 for group in groups)
    worse = translation_tables.by_length(sources, ["Nothing."] * 4, same)
    assert all(a[3] > b[3] for a, b in zip(groups, worse, strict=True))


def test_together_shows_each_step() -> None:
    keys = ("validation_bleu", "test_bleu", "test_chrf", "test_exact_match")
    metrics = {
        f"{model}.{prefix}{key}": _metric(value + i)
        for model, value in (("rnn", 0.10), ("transformer", 0.20))
        for i, prefix in enumerate(("one.greedy.", "one.beam.", ""))
        for key in keys
    }
    metrics["transformer.test_bleu"] |= {"mean": 2.0, "low": 1.0, "high": 3.0}
    record = {
        "metrics": metrics,
        "config": {"members": 3, "beam": 5, "preset": "full"},
        "notes": {"paired_bootstrap_p": 0.004},
    }
    table = translation_tables.together(record)
    assert [row[1] for row in table.rows[:3]] == [
        "one network, greedy", "one network, beam 5", "3 networks, beam 5",
    ]  # fmt: skip
    assert table.rows[5][:5] == ["Transformer", "3 networks, beam 5", "2.2", "2.0", "1.0 to 3.0"]
    assert "p = 0.004" in table.caption
    words = translation_tables.together_in_words(record)
    assert "by BLEU the recurrent networks are ahead (2.1 against 2.0)" in words
    assert "by chrF2 the Transformers are ahead (2.2 against 2.1)" in words
    assert "more than the choice" in words


def test_leakage_sets_the_splits_side_by_side() -> None:
    record = {
        "metrics": {
            "rnn.test_bleu": _metric(30.0, low=28.0, high=32.0),
            "rnn.test_chrf": _metric(40.0),
            "rnn.test_exact_match": _metric(0.25),
            "memory.test_bleu": _metric(25.0),
        }
    }
    table = translation_tables.leakage({"by component": record, "pair by pair": record})
    assert table.rows[0] == ["by component", "30.0", "28.0 to 32.0", "40.0", "25.0%", "25.0"]
    assert len(table.rows) == 2
