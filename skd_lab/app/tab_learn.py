"""Learn: one idea a card; guess first, then see what the records say."""

from typing import Any

import gradio as gr

from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.lessons import CARDS, Card, question, strip_of
from skd_lab.app.parts import ndjson, notice, say, token_strip

AS_USUAL: dict[str, Any] = {"k": 0, "colour": "rank"}
"""Props of a strip that a card may set. (0: as recorded; gradio leaves None out of an update.)"""


def add_learn(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    first = CARDS[0]
    asked = question(first)
    with gr.Row(equal_height=True):
        cards = gr.Dropdown(
            [(f"{n}. {card.title}", n - 1) for n, card in enumerate(CARDS, start=1)],
            value=0,
            label=f"Card (of {len(CARDS)})",
            interactive=True,
            scale=3,
            min_width=260,
        )
        back = gr.Button("Back", min_width=90, interactive=False)
        forth = gr.Button("Next card", min_width=90)
    text = gr.Markdown(_text(first))
    answer = gr.Radio(
        _choices(asked.choices), value=None, label=asked.words, elem_classes="skd-answers"
    )
    with gr.Row():
        reveal = gr.Button("Show the answer", variant="primary", min_width=150)
        score = notice("Guess first, then look. Nothing is stored.")
    said = notice()
    strip = token_strip(ndjson(strip_of(first, False)), controls=False)
    guessed = gr.State({})
    shown = [cards, text, answer, said, strip, back, forth]

    def show(place: Any) -> tuple[Any, ...]:
        place = min(max(int(place or 0), 0), len(CARDS) - 1)
        card = CARDS[place]
        asked = question(card)
        return (
            place,
            _text(card),
            gr.update(choices=_choices(asked.choices), value=None, label=asked.words),
            say(""),
            gr.update(value=ndjson(strip_of(card, False)), controls=False, **AS_USUAL),
            gr.update(interactive=place > 0),
            gr.update(interactive=place < len(CARDS) - 1),
        )

    def tell(place: Any, guess: Any, guessed: dict[int, bool]) -> tuple[Any, ...]:
        card = CARDS[min(max(int(place or 0), 0), len(CARDS) - 1)]
        if guess is None:
            return say("Choose an answer first; a guess is enough.", "bad"), *[gr.skip()] * 3
        asked = question(card)
        right = guess == asked.truth
        # what counts is the first guess
        guessed = {int(place or 0): right} | guessed
        verdict = "Right." if right else "Not quite."
        strip = {**AS_USUAL, **card.after, "controls": True}
        return (
            say(f"{verdict} {asked.why}", "good"),
            gr.update(value=ndjson(strip_of(card, True)), **strip),
            guessed,
            say(f"{sum(guessed.values())} of {len(guessed)} guessed right at first."),
        )

    cards.input(show, cards, shown, **PLUMBING)
    back.click(lambda place: show((place or 0) - 1), cards, shown, **PLUMBING)
    forth.click(lambda place: show((place or 0) + 1), cards, shown, **PLUMBING)
    reveal.click(tell, [cards, answer, guessed], [said, strip, guessed, score], **PLUMBING)


def _text(card: Card) -> str:
    return f"## {card.title}\n{card.text}"


def _choices(words: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(text, place) for place, text in enumerate(words)]
