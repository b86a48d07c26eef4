"""What a tokenizer's chat template does with turns: header, end of a turn, thinking switch.

Checkpoints differ here more than in their layers: some templates refuse a system turn, some open
every answer with an empty thinking block, some end a turn with a token that no configuration lists
as an end.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

Turn = Mapping[str, Any]
"""{"role": ..., "content": ...}"""

_SWITCH = "enable_thinking"
_OPEN, _CLOSE = "<think>", "</think>"
_ANSWER = "the answer of this turn"


class ChatTemplate:
    """A tokenizer's chat template, rendered to text or ids.

    Args:
        tokenizer: with a chat template.
        thinking: whether the answer may begin with thoughts, where the template has a switch for
            it (Qwen3). Without them such a template closes an empty block before the answer: that
            block belongs to the prompt, as it does when text is generated.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, thinking: bool = False) -> None:
        self.tokenizer, self.thinking = tokenizer, thinking
        self.source = str(tokenizer.get_chat_template())
        self._settings = {_SWITCH: thinking} if self.has_switch else {}

    @property
    def has_switch(self) -> bool:
        """Whether thoughts can be turned on and off."""
        return _SWITCH in self.source

    def text(self, turns: Sequence[Turn], *, header: bool = False) -> str:
        """The turns as the template writes them.

        Args:
            turns: of a chat.
            header: end with the opening of the next answer.

        Raises:
            jinja2.TemplateError: if the template refuses the turns.
        """
        settings = {"add_generation_prompt": header, **self._settings}
        return str(
            self.tokenizer.apply_chat_template(self._parted(turns), tokenize=False, **settings)
        )

    def ids(self, turns: Sequence[Turn], *, header: bool = False) -> list[int]:
        """The turns as ids, in which only the template's own control tokens are control tokens.

        Raises:
            jinja2.TemplateError: if the template refuses the turns, or a turn holds a control
                token and this version of transformers cannot keep it text (before 5.20).
        """
        settings = {"add_generation_prompt": header, "return_dict": False, **self._settings}
        known = inspect.signature(self.tokenizer.apply_chat_template).parameters
        if "sanitize_control_tokens" in known:
            settings["sanitize_control_tokens"] = True
        elif written := self.controls_in(turns):
            raise TemplateError(
                f"its text holds the control token {written[0]!r}, which this version of "
                "transformers would obey: take it out, or upgrade transformers"
            )
        return list(self.tokenizer.apply_chat_template(self._parted(turns), **settings))

    def controls_in(self, turns: Sequence[Turn]) -> list[str]:
        """Control tokens that stand in the text of the turns."""
        added = self.tokenizer.added_tokens_decoder.values()
        controls = {token.content for token in added if token.special}
        controls |= set(self.tokenizer.all_special_tokens)
        return sorted(token for token in controls for turn in turns if token in turn["content"])

    def turn_ends(self) -> list[int]:
        """Ids that the template closes an answer with; at most one.

        A model that was tuned on this template stops by it, whatever its configuration lists:
        Gemma 2 was published with <eos> alone there, and base models have no chats in mind.
        """
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
        try:
            _, found, behind = self.text(turns).rpartition(_ANSWER)
        except TemplateError:
            return []
        tokens = {token.content: i for i, token in self.tokenizer.added_tokens_decoder.items()}
        controls = sorted((token for token in tokens if token.strip()), key=len, reverse=True)
        first = re.search("|".join(map(re.escape, controls)) or "(?!)", behind if found else "")
        return [tokens[first.group()]] if first else []

    def _parted(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """Thoughts apart from the answer, for templates that take them so.

        Left in the text they would be searched for by the template, behind the fences that keep
        a user's control tokens text: it would keep the fences' places as empty lines.
        """
        parted = [dict(turn) for turn in turns]
        if "reasoning_content" in self.source:
            for turn in parted:
                if turn["role"] == "assistant":
                    turn["reasoning_content"], turn["content"] = thoughts_of(turn["content"])
        return parted


def thoughts_of(text: str) -> tuple[str, str]:
    """A text's opening thinking block, without its marks, and the rest; "" without a block."""
    opened = text.lstrip()
    if not opened.startswith(_OPEN) or _CLOSE not in opened:
        return "", text
    thoughts, _, answer = opened.removeprefix(_OPEN).partition(_CLOSE)
    return thoughts.strip("\n"), answer.lstrip("\n")
