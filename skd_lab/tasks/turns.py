"""Chats in a file: which turns may stand where, and which one is trained."""

from collections.abc import Callable
from typing import Any

ROLES = ("system", "user", "assistant")
Refuse = Callable[[str], Exception]
"""Makes an error of a sentence, with the place in front of it."""


def read_chat(messages: Any, refuse: Refuse) -> tuple[list[dict[str, str]], str | None]:
    """The turns that are given, and the answer that is to be learnt.

    A chat is a system turn or none, then user and assistant in turn. Only the assistant's last
    turn is trained; earlier ones are part of the prompt. A chat that ends with the user's turn is
    a prompt without an answer.

    Args:
        messages: turns with role and content.
        refuse: makes the error that names the place.

    Returns:
        The turns up to the user's last one, and what the assistant says then (None: nothing).
    """
    if not isinstance(messages, list) or not messages:
        raise refuse('"messages" must be a list of turns with role and content.')
    turns = [_turn(number, turn, refuse) for number, turn in enumerate(messages, start=1)]
    _check_order(turns, refuse)
    answer = turns.pop()["content"] if turns[-1]["role"] == "assistant" else None
    return turns, answer


def _turn(number: int, turn: Any, refuse: Refuse) -> dict[str, str]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if role not in ROLES:
        got = "" if role is None else f", got {role!r}"
        raise refuse(f"turn {number} needs a role, one of {', '.join(ROLES)}{got}.")
    content = turn.get("content")
    if not isinstance(content, str):
        raise refuse(f'turn {number} ({role}) has no text in field "content".')
    if not content.strip():
        raise refuse(f"turn {number} ({role}) is empty. Give it some text, or leave it out.")
    return {"role": role, "content": content}


def _check_order(turns: list[dict[str, str]], refuse: Refuse) -> None:
    """A system turn at most, and first; then the user's and the assistant's by turns."""
    roles = [turn["role"] for turn in turns]
    opening = roles[0] == "system"
    if roles == ["system"]:
        raise refuse("there is nothing but a system turn. Add the user's turn behind it.")
    for number, role in enumerate(roles[opening:], start=1 + opening):
        if role == "system":
            raise refuse(f"turn {number} is a system turn; only the first turn may be one.")
        due = "user" if (number - opening) % 2 else "assistant"
        if role != due:
            raise refuse(
                f"turn {number} is the {role}'s, but the {due}'s is due: after a system turn or "
                "none, user and assistant take turns, and the user begins. Repair that line."
            )
