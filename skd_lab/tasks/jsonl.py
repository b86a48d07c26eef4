"""Your own task: a JSON-lines file of prompts and completions, or of chats.

A line is one of::

    {"prompt": "Q: 2+2\\nA:", "completion": " 4"}                     continued as it stands
    {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}

The completion may be missing; of a chat the last turn, if the assistant's, is the reference.
"""

import json
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError, UsageError
from skd_lab.metrics import exact_match, rouge_l
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.rows import held_out_split, read_rows, shuffled

ROLES = ("system", "user", "assistant")


class Jsonl(Task):
    """Examples from a file of your own, scored by exact match and ROUGE-L."""

    name = "jsonl"
    description = "Your own JSON-lines file: prompt and completion, or messages (--data-path)."
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

    if "messages" in row and "prompt" in row:
        raise refuse("both prompt and messages. Keep one of the two.")
    if "messages" in row:
        turns = _turns(row["messages"], refuse)
        reference = turns.pop()["content"] if turns[-1]["role"] == "assistant" else None
        if not turns or turns[-1]["role"] != "user":
            raise refuse("the turn before the answer must be the user's. Repair that line.")
        if not turns[-1]["content"].strip():
            raise refuse("the user's last turn is empty. Give it some text.")
        example = Example(id=f"line-{line}", messages=turns, reference=reference)
    elif not isinstance(row.get("prompt"), str):
        raise refuse(
            'no text in field "prompt". A line holds "prompt" and "completion", or "messages".'
        )
    elif not row["prompt"].strip():
        raise refuse("the prompt is empty. Give it some text, or remove that line.")
    else:
        reference = row.get("completion")
        if reference is not None and not isinstance(reference, str):
            raise refuse(f'"completion" must be text, got {type(reference).__name__}.')
        example = Example(id=f"line-{line}", prompt=row["prompt"], reference=reference)
    if reference is not None and not reference.strip():
        raise refuse("the completion is empty. Give it some text, or leave it out.")
    return example


def _turns(messages: Any, refuse: Any) -> list[dict[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise refuse('"messages" must be a list of turns with role and content.')
    turns = []
    for number, turn in enumerate(messages, start=1):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise refuse(f"turn {number} needs a role, one of: {', '.join(ROLES)}.")
        if not isinstance(turn.get("content"), str):
            raise refuse(f'turn {number} has no text in field "content".')
        turns.append({"role": turn["role"], "content": turn["content"]})
    return turns
