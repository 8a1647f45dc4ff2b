"""An OpenAI-compatible server over the sampler: chat and text completions, streamed or whole, in batches."""

from assent.serving.app import create_app
from assent.serving.settings import Settings

__all__ = ["Settings", "create_app"]
