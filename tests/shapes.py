"""The run-time check of the shapes and dtypes written in skd_lab's signatures.

Only array annotations are checked: tests may pass a stand-in for a pair, a task or a tokenizer.
"""

from typing import Any

import beartype


def check(function: Any) -> Any:
    """A beartype decorator that looks at jaxtyping's annotations alone."""
    if isinstance(function, type):
        return function
    arrays = {
        name: hint for name, hint in function.__annotations__.items() if "jaxtyping" in repr(hint)
    }
    if not arrays:
        return function
    function.__annotations__ = arrays
    return beartype.beartype(function)
