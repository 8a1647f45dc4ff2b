"""How different are several samples of one prompt?

`distinct_pairs` is the share of pairs of samples that differ as texts: 0 when the model always says the
same, 1 when it never repeats itself. It does not depend on how many samples were drawn (on average), nor
on their length. `distinct_n` falls with length by itself; `adjusted_distinct` divides that out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def distinct_pairs(texts: Sequence[str]) -> float | None:
    """Share of pairs of texts that differ (Simpson's index, unbiased); None below two texts."""
    total = len(texts)
    if total < 2:
        return None
    same = sum(count * (count - 1) for count in Counter(texts).values())
    return 1.0 - same / (total * (total - 1))


def distinct_n(samples: Sequence[Sequence[Hashable]], n: int) -> float | None:
    """Distinct n-grams over all n-grams of the samples (Li et al. 2016); None where there are none."""
    grams = _ngrams(samples, n)
    return len(set(grams)) / len(grams) if grams else None


def adjusted_distinct(samples: Sequence[Sequence[Hashable]], n: int, vocabulary: int) -> float | None:
    """Expectation-adjusted distinct: distinct n-grams over the number expected of uniform draws.

        EAD = distinct / (V (1 - ((V - 1) / V)^C))          (Liu et al. 2022, equation 4)

    Parameters: `samples`, token sequences; `vocabulary`, V. C counts all n-grams. None where C is zero.
    """
    grams = _ngrams(samples, n)
    if not grams:
        return None
    expected = vocabulary * (1.0 - ((vocabulary - 1) / vocabulary) ** len(grams))
    return len(set(grams)) / expected


def _ngrams(samples: Sequence[Sequence[Hashable]], n: int) -> list[tuple[Hashable, ...]]:
    return [tuple(sample[i : i + n]) for sample in samples for i in range(len(sample) - n + 1)]
