"""All model compute: `score(model, groups)` and `sample(model, prompts, n, seed)`."""

from assent.engine.budget import score_all
from assent.engine.sample import Rollout, sample
from assent.engine.score import Scores, score

__all__ = ["Rollout", "Scores", "sample", "score", "score_all"]
