"""Errors a user can meet. Each message says what is wrong, what was got and what to do."""

from collections.abc import Iterator
from pathlib import Path


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


class NoMemoryError(SkdError):
    """Memory ran out, with half of the rows at a time too; the message says what helps."""


class NonFiniteLossError(SkdError):
    """The loss or a gradient became NaN or infinite; the last good checkpoint is kept."""


_LOG_IN = (
    "Make a token at {hub}/settings/tokens (kind: read) and run `hf auth login`, or set HF_TOKEN "
    "(in Colab: the key in the left bar, name HF_TOKEN, notebook access on)."
)


def hub_advice(at: str | Path, error: BaseException) -> str | None:
    """One paragraph for a person whom the Hub refused a model; None for any other failure.

    Args:
        at: the Hub id that was asked for.
        error: what the framework raised; the Hub's own refusal is looked for behind it.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    hub = constants.ENDPOINT
    log_in = _LOG_IN.format(hub=hub)
    for cause in _causes(error):
        if isinstance(cause, GatedRepoError):
            known = getattr(cause.response, "status_code", None) == 403
            licence = f"Open {hub}/{at}, log in, and accept its licence (free, once per account)."
            if known:
                return (
                    f"'{at}' is gated, and the account of your token may not read it yet. {licence}"
                    " Where access is given by hand, wait for the mail. A fine-grained token also "
                    "needs the permission to read gated repositories."
                )
            return f"'{at}' is gated: it is given to known accounts only. {licence} {log_in}"
        if isinstance(cause, RepositoryNotFoundError):
            private = (
                "the account of your token may not see it"
                if get_token()
                else f"it is private and you are not logged in. {log_in}"
            )
            return f"There is no '{at}' on the Hub: its name is misspelt, or {private.rstrip('.')}."
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was raised from, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
