"""Errors a user can meet. Each message says what is wrong, what was got and what to do."""


class SkdError(Exception):
    """Something failed while it ran; the command line exits with 1."""

    exit_code = 1


class UsageError(SkdError, ValueError):
    """What was asked for cannot be; raised before any long work starts. Exits with 2."""

    exit_code = 2


class DataError(UsageError):
    """A data or record file that cannot be read; the message names the file and the line."""


class TokenizerMismatchError(UsageError):
    """Student and teacher do not share a tokenizer, so the teacher cannot judge a proposal."""


class RunExistsError(UsageError):
    """The run folder is already there, and neither resume nor overwrite was asked for."""


class NonFiniteLossError(SkdError):
    """The loss or a gradient became NaN or infinite; the last good checkpoint is kept."""
