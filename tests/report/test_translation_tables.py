"""The tables of problem 2(e) say what the records say."""

from typing import Any

from coursework.report import translation_tables


def _metric(mean: float, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "std": None, "values": [mean], **more}


RECORD: dict[str, Any] = {
    "config": {"beam": 5},
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
        "Transformer, own embeddings, beam 5",
        "the same, greedy",
        "GRU with attention, own embeddings, beam 5",
        "the same, greedy",
        "nearest training sentence",
        "source copied",
    ]
    assert list(table.rows[0])[1:] == [
        "48.2", "47.1 to 49.4", "64.5", "31.0%", "51.0", "40.0%", "4,321", "10",
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
