"""K of Algorithm 1 as a number, or as a line over the run's updates or a completion's tokens.

- `25`: the same everywhere (the paper's main results);
- `updates:1..25`: from 1 at the first update to 25 at the last, the teacher's grip loosens;
- `tokens:25..1`: from 25 at a completion's first token to 1 at its last (the paper's Appendix C,
  counted in tokens; the released code counts blocks there).
"""

import re

from skd_lab.errors import UsageError

_LINE = re.compile(r"(updates|tokens):(\d+)\.\.(\d+)")


def top_k_at(
    accept_top_k: int | str, progress: float, max_new_tokens: int
) -> int | tuple[int, ...]:
    """K at one point of a run.

    Args:
        accept_top_k: a number, or a schedule as above.
        progress: updates done / (updates - 1), from 0 to 1.
        max_new_tokens: the length limit, where a line over tokens ends.

    Returns:
        One K, or one a position of the completion.

    Raises:
        UsageError: for anything else; says how a schedule is written.
    """
    if isinstance(accept_top_k, int):
        if accept_top_k < 1:
            raise UsageError(f"accept_top_k {_RULE}, got {accept_top_k}.")
        return accept_top_k
    found = _LINE.fullmatch(accept_top_k)
    if found is None or 0 in (ends := (int(found[2]), int(found[3]))):
        raise UsageError(f"accept_top_k {_RULE}, got {accept_top_k!r}.")
    if found[1] == "updates":
        return _between(*ends, min(max(progress, 0.0), 1.0))
    last = max(max_new_tokens - 1, 1)
    return tuple(_between(*ends, token / last) for token in range(max_new_tokens))


def _between(start: int, end: int, share: float) -> int:
    return round(start + (end - start) * share)


_RULE = "must be a whole number from 1, or a line such as updates:1..25 or tokens:25..1"
