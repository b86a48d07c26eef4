"""What other programs may ask of a running app (gradio_client): every name is given here.

Texts go and come as arguments and NDJSON (schema skd-trace/1); nothing of a page's own runs can be
asked for. The same limits hold as on the page.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app.asks import Ask, whole
from skd_lab.app.branching import HOW, LENGTH, roads
from skd_lab.app.comparing import compare, ways
from skd_lab.app.drafting import draft
from skd_lab.app.forced import judge_text
from skd_lab.app.form import pair_choice
from skd_lab.app.frame import MODEL, Frame
from skd_lab.app.models import in_one_thread
from skd_lab.app.writing import write
from skd_lab.errors import SkdError, UsageError
from skd_lab.records import dumps_traces, loads_traces


def add_endpoints(frame: Frame) -> None:
    """The public endpoints; all else on the page is private."""

    def recorded(name: str) -> str:
        """Traces of a run as NDJSON (schema skd-trace/1).

        Args:
            name: the run's name; "" for the one that the page opens first.
        """
        with spoken_errors():
            names = frame.library.names()
            if not name and not names:
                raise UsageError("Nothing is recorded yet.")
            return dumps_traces(frame.library.open(name or names[0]).traces)

    def watch(
        prompt: str, pair: str, k: int, gamma: int, new_tokens: int, seed: int
    ) -> Generator[str, None, None]:
        """Let student and teacher write a text together; streams it as it grows.

        Args:
            prompt: what to complete, at most 2,000 characters.
            pair: a name from /pairs.
            k: K, a proposal stands if the teacher ranks it in its top K.
            gamma: draft length, tokens.
            new_tokens: at most 256.
            seed: the same seed gives the same text.

        Yields:
            The trace so far as NDJSON; the last one holds both models' distributions.
        """
        with spoken_errors():
            ask = asked(prompt, k, gamma, new_tokens, seed)
            choice = pair_choice(frame, pair)

            def work(stop: Event) -> Generator[str, None, None]:
                with frame.models.use(choice) as loaded:
                    for progress in write(loaded, ask, stop):
                        yield dumps_traces([progress.trace])

            yield from _said(in_one_thread(work, Event()))

    def compare_texts(
        mode: str, prompt: str, pair: str, other_pair: str, reference: str, k: int, seed: int
    ) -> str:
        """Two or three texts on one prompt, as NDJSON.

        Args:
            mode: what to compare, in the words of the page's own list.
            prompt: what to complete.
            pair: a name from /pairs.
            other_pair: the second student, where two are compared; else "".
            reference: the reference answer, where one is needed; else "".
            k: K of the text that is written together.
            seed: shared by all texts.
        """
        with spoken_errors():
            ask = asked(prompt, k, 5, 64, seed)
            choice = pair_choice(frame, pair)
            other = pair_choice(frame, other_pair) if other_pair else None
            wanted, stop = ways(mode, ask, choice, other, reference), Event()
            found = [traces for traces, _, _ in compare(frame.models, ask, wanted, stop)]
            return dumps_traces(found[-1])

    def branch(trace: str, i: int, pair: str, how: str) -> str:
        """Three roads from a token of a trace: what was kept, student alone, teacher alone.

        Args:
            trace: NDJSON of one trace, with the ids of its prompt.
            i: place of the token, from 0.
            pair: a name from /pairs.
            how: "" or "the same random numbers", or "always the likeliest token".

        Returns:
            NDJSON of three traces of up to 20 tokens.
        """
        with spoken_errors():
            traces = loads_traces(trace, "the trace")
            if not traces:
                raise UsageError("There is no trace in the text. Give NDJSON as /watch returns.")
            place, choice = whole("The place", i), pair_choice(frame, pair)
            with frame.models.use(choice) as loaded:
                return dumps_traces(roads(loaded, traces[0], place, how or HOW[0], LENGTH))

    def paste(prompt: str, text: str, pair: str) -> str:
        """Judge a given text: the teacher's rank of every token, as NDJSON of one trace.

        Args:
            prompt: what the text answers; may be "".
            text: at most 4,000 characters.
            pair: a name from /pairs.
        """
        with spoken_errors():
            choice = pair_choice(frame, pair)
            with frame.models.use(choice) as loaded:
                return dumps_traces([judge_text(loaded, prompt, text)])

    def draft_texts(prompt: str, pair: str, k: int, gamma: int, new_tokens: int, seed: int) -> str:
        """One prompt by the lossless rule and by the top-K rule, as NDJSON of two traces.

        Args:
            prompt: what to complete.
            pair: a name from /pairs.
            k: K of the top-K rule.
            gamma: draft length, tokens.
            new_tokens: at most 256.
            seed: shared by both.
        """
        with spoken_errors():
            ask, choice = asked(prompt, k, gamma, new_tokens, seed), pair_choice(frame, pair)
            with frame.models.use(choice) as loaded:
                return dumps_traces(list(draft(loaded, ask, Event()))[-1])

    def runs() -> list[str]:
        """Names of what /recorded can give."""
        return frame.library.names()

    def pairs() -> list[str]:
        """Names of the pairs of models that can be asked."""
        return list(frame.library.pairs(checkpoints=True))

    for name, light in (("recorded", recorded), ("runs", runs), ("pairs", pairs)):
        gr.api(light, api_name=name, queue=False)
    heavy: dict[str, Any] = {
        "watch": watch,
        "compare": compare_texts,
        "branch": branch,
        "paste": paste,
        "draft": draft_texts,
    }
    for name, work in heavy.items():
        gr.api(work, api_name=name, **MODEL)


def asked(prompt: str, k: int, gamma: int, new_tokens: int, seed: int) -> Ask:
    """The arguments of an endpoint, checked."""
    return Ask(
        prompt=prompt,
        accept_top_k=whole("K", k),
        gamma=whole("The draft length", gamma),
        max_new_tokens=whole("The number of new tokens", new_tokens),
        seed=whole("The seed", seed),
    )


@contextmanager
def spoken_errors() -> Iterator[None]:
    """What a caller did wrong reaches him in words."""
    try:
        yield
    except SkdError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _said(source: Iterator[str | None]) -> Iterator[str]:
    return (item for item in source if item is not None)
