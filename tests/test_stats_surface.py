"""The surface-feature floor: counted by hand, symmetric, blind to content, right on real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from assent.core.errors import DataError
from assent.core.hashing import hash_int
from assent.core.jsonl import read_rows
from assent.stats import surface
from assent.stats.bootstrap import mean_interval

DATA = Path(os.environ.get("ASSENT_TEST_DATA", "../shared"))
HH = DATA / "data/hh-rlhf/test.jsonl.gz"
SEED = 11


def noise_pairs(count: int, seed: int) -> list[surface.Pair]:
    """Pairs of texts of random words and lengths, neither side special."""
    rng = np.random.default_rng(seed)
    words = np.array(["Yes", "no,", "maybe", "42", "is!", "What?", "red", "\n\n-", "green", "Blue"])

    def text() -> str:
        return " ".join(rng.choice(words, size=int(rng.integers(1, 15))))

    return [(text(), text()) for _ in range(count)]


def test_features_counted_by_hand() -> None:
    text = "Well, Bob's dog ran!\n- It has 2 legs, 10 toes? No."
    # words: Well Bob's dog ran It has 2 legs 10 toes No = 11, of 4+5+3+3+2+3+1+4+2+4+2 = 33 characters
    # sentence ends ! ? . ; one line break and one list mark; digits 2 1 0; capitals Well Bob It No
    counts = {
        "words": 11,
        "sentences": 3,
        "question_marks": 1,
        "exclamation_marks": 1,
        "commas": 2,
        "layout": 2,
        "digits": 3,
        "capitals": 4,
    }
    found = dict(zip(surface.FEATURES, surface.features(text), strict=True))
    assert found.pop("word_length") == pytest.approx(33 / 11)
    assert {name: round(float(np.expm1(value)), 9) for name, value in found.items()} == counts
    assert len(surface.FEATURES) == 9


@pytest.mark.parametrize("text", ["", " ", "\n", "?!", "…", "\x00", "日本語。", "🙂" * 50, "\ud800"])
def test_any_text_has_finite_features(text: str) -> None:
    assert np.isfinite(surface.features(text)).all()
    assert not surface.features("").any()


def test_what_the_words_say_plays_no_part() -> None:
    assert (surface.features("Yes, it is red.") == surface.features("Nah, he is fat.")).all()


def test_swapping_the_answers_swaps_the_prediction_and_flipping_all_pairs_flips_the_weights() -> None:
    pairs = noise_pairs(200, SEED)
    flipped = [(second, first) for first, second in pairs]
    model, mirror = surface.fit(pairs), surface.fit(flipped)
    assert model.margins(flipped) == pytest.approx(-model.margins(pairs))
    assert mirror.weights == pytest.approx([-weight for weight in model.weights], abs=1e-5)
    assert mirror.correct(flipped) == pytest.approx(model.correct(pairs))


def test_order_of_pairs_plays_no_part() -> None:
    pairs = noise_pairs(200, SEED)
    assert surface.fit(pairs[::-1]).weights == pytest.approx(surface.fit(pairs).weights, abs=1e-5)


def test_gradient_is_that_of_the_loss_and_the_fit_is_its_minimum() -> None:
    pairs = noise_pairs(60, SEED)
    model = surface.fit(pairs)
    gaps = surface.differences(pairs) / np.array(model.scale)
    start = np.linspace(-1, 1, len(surface.FEATURES))
    numeric = approx_fprime(start, lambda weights: surface._penalised_nll(weights, gaps, 1.0)[0], 1e-6)
    assert surface._penalised_nll(start, gaps, 1.0)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)
    assert np.abs(surface._penalised_nll(np.array(model.weights), gaps, 1.0)[1]).max() < 1e-3


def test_one_feature_has_the_weight_worked_out_by_hand() -> None:
    # 30 of 40 choices take the text with a question mark, the other being the same text without it. Two
    # features tell them apart (marks, sentence ends), each by a standardised gap of +-1, so the log odds
    # w1 + w2 of the 30 are log(30 / 10) without a penalty.
    pairs = [("so?", "so")] * 30 + [("so", "so?")] * 10
    weights = surface.fit(pairs, c=1e9).by_name
    assert weights["question_marks"] + weights["sentences"] == pytest.approx(np.log(3), abs=1e-4)
    assert weights["digits"] == 0
    assert surface.fit(pairs).accuracy(pairs) == pytest.approx(0.75)


def test_a_planted_love_of_length_is_found_and_pure_chance_is_not() -> None:
    longer = [(a, b) if len(a) > len(b) else (b, a) for a, b in noise_pairs(400, SEED) if len(a) != len(b)]
    model = surface.fit(longer[:300])
    assert model.accuracy(longer[300:]) == pytest.approx(1.0, abs=0.05)
    assert max(model.by_name, key=lambda name: abs(model.by_name[name])) == "words"
    chance = noise_pairs(2000, SEED + 1)
    blind = surface.fit(chance[:1000]).correct(chance[1000:])
    found = mean_interval(blind, [str(i) for i in range(1000)], seed=SEED)
    assert found is not None
    assert found.low < 0.5 < found.high


def test_equal_looks_are_half_right() -> None:
    assert surface.fit([("a b", "a")]).accuracy([("red", "big")]) == 0.5
    assert surface.fit([("a b", "a")]).accuracy([]) is None


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="no pairs"):
        surface.fit([])


@pytest.mark.skipif(not HH.exists(), reason=f"no {HH}: set ASSENT_TEST_DATA")
def test_looks_predict_about_58_percent_of_real_harmlessness_choices() -> None:
    """Known: 58.5 % for nine features, 5-fold. Ours, folds by prompt: 57.0 %, standard error 1.0 point."""
    split = "\n\nAssistant:"
    rows = [[row[side].rpartition(split) for side in ("chosen", "rejected")] for _, row in read_rows(HH)]
    pairs = [(chosen[2].strip(), rejected[2].strip()) for chosen, rejected in rows]
    fold = np.array([hash_int("fold", chosen[0]) % 5 for chosen, _ in rows])
    correct = np.zeros(len(pairs))
    for held_out in range(5):
        inside = np.flatnonzero(fold == held_out)
        model = surface.fit([pair for pair, place in zip(pairs, fold, strict=True) if place != held_out])
        correct[inside] = model.correct([pairs[i] for i in inside])
    assert len(pairs) == 2312
    assert 0.56 <= correct.mean() <= 0.61
    longer = np.mean([0.5 + 0.5 * np.sign(len(chosen) - len(rejected)) for chosen, rejected in pairs])
    assert longer == pytest.approx(0.445, abs=0.001)  # so the floor must have learned: shorter wins here
