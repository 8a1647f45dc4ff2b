"""All model compute: `score(model, groups)` and `sample(model, prompts, n, seed)`."""

from assent.engine.sample import Rollout, sample
from assent.engine.score import Scores, score, score_all

__all__ = ["Rollout", "Scores", "sample", "score", "score_all"]
