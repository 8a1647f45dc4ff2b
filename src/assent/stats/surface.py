"""The surface-feature floor: how well do looks alone predict which answer is chosen?

Nine features of an answer's text, none of which knows what it says. A Bradley-Terry logistic on their
differences, fitted on the same pairs a reward model is trained on, is the floor: a reward model that does
not beat it on held-out pairs has learned nothing about content.

    P(first over second) = sigmoid(w . (f(first) - f(second)) / scale)

No intercept: swapping the two answers must swap the prediction. For the same reason `scale` is the root
mean square of each difference about zero, not its deviation about a mean. Counts enter as log(1 + count).

Shapes: N pairs, F = 9 features.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from assent.core.errors import DataError

Floats = npt.NDArray[np.float64]
Pair = tuple[str, str]
"""Two answer texts, the chosen one first."""

C = 1.0
"""Inverse strength of the L2 penalty |w|^2 / 2C on standardised features: scikit-learn's default."""

WORD = re.compile(r"\w+(?:['’]\w+)*")
SENTENCE_END = re.compile(r"[.!?…。！？]+(?=\s|$|[\"”'’)])")
LIST_MARK = re.compile(r"^\s*(?:[-*•+]|\d+[.)]|#{1,6})\s", re.MULTILINE)
CAPITALISED = re.compile(r"\b[A-Z]\w+")

FEATURES = (
    "words",  # log(1 + words)
    "word_length",  # mean characters a word
    "sentences",  # log(1 + sentence ends)
    "question_marks",  # log(1 + count)
    "exclamation_marks",  # log(1 + count)
    "commas",  # log(1 + count)
    "layout",  # log(1 + line breaks + list and heading marks)
    "digits",  # log(1 + count)
    "capitals",  # log(1 + words of two or more letters that begin with a capital)
)


def features(text: str) -> Floats:
    """The nine surface features of a text [F], in the order of `FEATURES`; an empty text is all zeros."""
    words = WORD.findall(text)
    counts = (
        len(SENTENCE_END.findall(text)),
        text.count("?") + text.count("？"),
        text.count("!") + text.count("！"),
        sum(text.count(mark) for mark in ",，、"),
        text.count("\n") + len(LIST_MARK.findall(text)),
        sum(character.isdigit() for character in text),
        len(CAPITALISED.findall(text)),
    )
    length = sum(map(len, words)) / len(words) if words else 0.0
    return np.array([np.log1p(len(words)), length, *np.log1p(counts)])


def differences(pairs: Sequence[Pair]) -> Floats:
    """Features of the first text minus features of the second [N, F]."""
    if not pairs:
        return np.zeros((0, len(FEATURES)))
    return np.stack([features(first) - features(second) for first, second in pairs])


@dataclass(frozen=True)
class SurfaceFloor:
    """A fitted floor: `weights` on standardised differences and the `scale` [F] that standardises them."""

    weights: tuple[float, ...]
    scale: tuple[float, ...]
    n: int
    """Pairs it was fitted on."""

    def margins(self, pairs: Sequence[Pair]) -> Floats:
        """Log odds that the first text of each pair is chosen [N]."""
        return np.asarray(differences(pairs) / np.array(self.scale) @ np.array(self.weights))

    def correct(self, pairs: Sequence[Pair]) -> Floats:
        """1 where the chosen (first) text is predicted, 0.5 where nothing differs, else 0 [N]."""
        return 0.5 + 0.5 * np.sign(self.margins(pairs))

    def accuracy(self, pairs: Sequence[Pair]) -> float | None:
        """Mean of `correct`; None without pairs. Intervals: `bootstrap.mean_interval` of `correct`."""
        return float(self.correct(pairs).mean()) if pairs else None

    @property
    def by_name(self) -> dict[str, float]:
        """Weight of each feature: log odds per one typical (root mean square) difference."""
        return dict(zip(FEATURES, self.weights, strict=True))


def fit(pairs: Sequence[Pair], c: float = C) -> SurfaceFloor:
    """Fit the floor on (chosen, rejected) texts. Raises DataError without pairs.

    A feature that never differs keeps weight zero.
    """
    if not pairs:
        raise DataError("no pairs to fit the surface floor on", fix="give (chosen, rejected) pairs")
    gap_NF = differences(pairs)
    scale_F = np.sqrt((gap_NF**2).mean(axis=0))
    scale_F[scale_F == 0] = 1.0
    result = minimize(
        _penalised_nll,
        np.zeros(len(FEATURES)),
        args=(gap_NF / scale_F, c),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    return SurfaceFloor(tuple(map(float, result.x)), tuple(map(float, scale_F)), n=len(pairs))


def _penalised_nll(weight_F: Floats, gap_NF: Floats, c: float) -> tuple[float, Floats]:
    """Sum of -log sigmoid(margin) + |w|^2 / 2c, and its gradient [F]."""
    margin_N = gap_NF @ weight_F
    loss = np.logaddexp(0.0, -margin_N).sum() + weight_F @ weight_F / (2 * c)
    missed_N = np.exp(-np.logaddexp(0.0, margin_N))
    return float(loss), np.asarray(weight_F / c - gap_NF.T @ missed_N)
