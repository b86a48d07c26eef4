"""Your own task: a JSON-lines file of prompts and completions, or of chats.

A line is one of::

    {"prompt": "Q: 2+2\\nA:", "completion": " 4"}                     continued as it stands
    {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}

The completion may be missing. A chat may have a system turn first, and then any number of user and
assistant turns: the assistant's last turn, if it ends the chat, is the reference and the only one
that is trained; earlier ones are part of the prompt.
"""

import json
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError, UsageError
from skd_lab.metrics import exact_match, rouge_l
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.rows import held_out_split, read_rows, shuffled
from skd_lab.tasks.turns import Refuse, read_chat

TEACHER_ONLY = ("teacher_prompt", "teacher_messages", "teacher_system")
"""Fields that other tools read as a prompt for the teacher alone."""


class Jsonl(Task):
    """Examples from a file of your own, scored by exact match and ROUGE-L."""

    name = "jsonl"
    description = "Your own JSON-lines file: prompts and completions, or chats (--data-path)."
    headline = "exact_match"
    max_new_tokens = 128
    has_references = False  # a file may leave them out

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Examples of a file, or of <split>.jsonl in a folder.

        A single file is split by a hash of the prompt (80:10:10). With fewer than 10 different
        prompts nothing is held out: validation and test are empty.
        """
        self.check_request(split, n)
        if data_path is None:
            raise UsageError("task jsonl reads a file of your own. Give it with --data-path.")
        path, folder = Path(data_path), Path(data_path).is_dir()
        if folder:
            path = path / f"{split}.jsonl"
        examples = [_example(path, line, row) for line, row in read_rows(path)]
        if not folder:
            keys = [json.dumps(example.messages or example.prompt) for example in examples]
            examples = [examples[index] for index in held_out_split(keys)[split]]
        return [examples[index] for index in shuffled(len(examples), n, seed)]

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`exact_match` (white space aside) and `rouge_l`; both 0 where there is no reference."""
        if example.reference is None:
            return {"exact_match": 0.0, "rouge_l": 0.0}
        return {
            "exact_match": exact_match(completion_text, example.reference),
            "rouge_l": rouge_l(completion_text, example.reference),
        }


def _example(path: Path, line: int, row: dict[str, Any]) -> Example:
    def refuse(what: str) -> DataError:
        return DataError(f"{path}, line {line}: {what}")

    _check_fields(row, refuse)
    if "messages" in row:
        turns, reference = read_chat(row["messages"], refuse)
        return Example(id=f"line-{line}", messages=turns, reference=reference)
    if not isinstance(row.get("prompt"), str):
        raise refuse(
            'no text in field "prompt". A line holds "prompt" and "completion", or "messages".'
        )
    if not row["prompt"].strip():
        raise refuse("the prompt is empty. Give it some text, or remove that line.")
    reference = row.get("completion")
    if reference is not None and not isinstance(reference, str):
        raise refuse(f'"completion" must be text, got {type(reference).__name__}.')
    if reference is not None and not reference.strip():
        raise refuse("the completion is empty. Give it some text, or leave it out.")
    return Example(id=f"line-{line}", prompt=row["prompt"], reference=reference)


def _check_fields(row: dict[str, Any], refuse: Refuse) -> None:
    """Fields that would change what is asked, and could not be kept to, are not passed over."""
    if "messages" in row and "prompt" in row:
        raise refuse("both prompt and messages. Keep one of the two.")
    for name in TEACHER_ONLY:
        if name in row:
            raise refuse(
                f'field "{name}" is a text for the teacher alone, which is not supported: student '
                "and teacher judge the same tokens. Put the text into the prompt of both, or "
                "take the field out."
            )
    if "system" in row:
        raise refuse(
            'field "system" is not read. Put a system text into "messages", as the first turn.'
        )
