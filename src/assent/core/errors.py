"""Errors a user can act on.

Every error says what is wrong, where, why, and what to do; the command line prints it without a
traceback and exits with `exit_code`.

    AssentError            exit 2
    |- ConfigError         a recipe or an option: the key, the value, why
    |- DataError           a file or a row: path, line, reason
    |- ModelError          a model folder, a tokenizer, a chat template
    |- ArtifactError       a run folder: changed recipe, damaged manifest
    |- RewardError         a reward that raised, hung, or returned something that is no reward
    `- TrainingError       a run that must not go on: NaN loss, sampler and trainer that disagree
    Interrupted            exit 130, after a checkpoint
"""

from __future__ import annotations


class AssentError(Exception):
    """One clear message: `what` is wrong, `where` (file, line or key), and the `fix`."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  -> {self.fix}" if self.fix else head


class ConfigError(AssentError):
    """A recipe key or a command-line option that cannot be used."""


class DataError(AssentError):
    """A file or a row that cannot be used."""


class ModelError(AssentError):
    """A model folder, tokenizer or chat template that cannot be used."""


class ArtifactError(AssentError):
    """A run folder that cannot be used."""


class RewardError(AssentError):
    """A reward that raised, hung or did not return one number (or None) per answer."""


class TrainingError(AssentError):
    """A run that must stop; the last good checkpoint is kept."""


class Interrupted(AssentError):
    """The user asked to stop (Ctrl-C or SIGTERM); a checkpoint was written."""

    exit_code = 130
