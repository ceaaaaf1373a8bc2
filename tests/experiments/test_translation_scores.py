import pytest

from coursework.experiments import translation_scores as scores


def test_scores() -> None:
    references = ["she is very happy today", "we are not at home now"]
    assert scores.score(references, references) == pytest.approx(
        {"bleu": 100, "chrf": 100, "exact_match": 1}
    )
    half = scores.score([references[0], "we are not at school"], references)
    assert 30 < half["bleu"] < 90
    assert half["exact_match"] == 0.5
    assert scores.score(["", ""], references)["bleu"] == 0
    said = [references[0], "we are at school"] * 20
    low, high, how = scores.intervals(said, references * 20)["bleu"]
    assert low < scores.score(said, references * 20)["bleu"] < high
    assert how == "bootstrap, 40 sentences"
    # so few words in common that some samples have none
    low, high, _ = scores.intervals([*["x x x x"] * 39, references[1]], references * 20)["bleu"]
    assert low == 0 < high
    low, high, _ = scores.intervals([*(references * 20)[:39], "x x x x"], references * 20)["bleu"]
    assert low < high == 100


def test_the_same_system_twice_does_not_differ_and_a_clearly_worse_one_does() -> None:
    references = ["she is very happy today", "we are not at home now"] * 20
    worse = ["she is sad today", "we are home"] * 20
    assert scores.paired_bootstrap(references, references, references) == 1
    assert scores.paired_bootstrap(references, worse, references) < 0.05


def test_the_interval_over_seeds_and_sentences_holds_what_it_should() -> None:
    references = ["she is very happy today", "we are not at home now"] * 20
    worse, right = ["she is sad today", "we are home"] * 20, list(references)
    half = [*references[:20], *worse[20:]]
    # the sums give the corpus score
    for said in (half, worse, right):
        total = scores._statistics(said, references).sum(axis=0, keepdims=True)
        assert scores._bleu(total) == pytest.approx(scores.score(said, references)["bleu"])
    assert scores.over_seeds([half], [half], references)[:2] == (0, 0)
    one = scores.over_seeds([half], [worse], references)
    gap = scores.score(half, references)["bleu"] - scores.score(worse, references)["bleu"]
    assert 0 < one[0] < gap < one[1]
    # seeds that differ widen the interval
    wide = scores.over_seeds([half, worse, right], [worse] * 3, references)
    assert wide[0] == 0
    assert wide[1] > one[1]
    assert wide[2] == "bootstrap, 3 seeds, 40 sentences"


def test_scores_against_several_references_by_hand() -> None:
    several = [
        ["it rains now .", "it is raining now ."],
        ["i see you ."],
        ["we go home .", "we go ."],
    ]
    own = [references[0] for references in several]
    said = ["it is raining now .", "i see him .", "we go home ."]
    found = scores.score(said, own, several)
    assert found["match_multi"] == pytest.approx(2 / 3)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["bleu_multi"] > found["bleu"]
    with pytest.raises(ValueError, match="longer"):
        scores.score(said[:2], own, several)


def test_nearest_training_sentence() -> None:
    memory = [("je suis content", "i am glad"), ("tu es fort", "you are strong"), ("oui", "yes")]
    wanted = ["tu es tres fort", "je suis content", "inconnu"]
    assert scores.nearest_in_memory(memory, wanted) == [
        "you are strong",
        "i am glad",
        "i am glad",  # nothing in common: the first
    ]
