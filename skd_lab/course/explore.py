"""Widgets of the notebooks: sliders and steps over a drawing, with a still picture everywhere else.

A widget is shown where there is a kernel; the same cell holds the drawing of its first values as
HTML, so that GitHub, nbviewer and a printed page show a picture.
"""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from skd_lab.errors import UsageError

# one look in light and dark themes: the drawing brings its own paper and ink
_PAPER = (
    "background:#fff;color:#1a1a1a;padding:10px 12px;border:1px solid #bbb;border-radius:6px;"
    "overflow-x:auto;max-width:100%;font:14px/1.45 system-ui,sans-serif"
)


def figure(drawn: Any, alt: str) -> "Drawing":
    """A matplotlib Figure, or HTML, with a sentence that says what is to be seen.

    Args:
        drawn: a Figure (closed here), or HTML text.
        alt: the sentence; screen readers read it, and it is printed under the picture.

    Raises:
        UsageError: for an empty sentence.
    """
    if not alt.strip():
        raise UsageError(
            "A figure needs a sentence that says what is to be seen: figure(fig, alt)."
        )
    return Drawing(_as_html(drawn, alt), alt)


class Drawing:
    """A picture and its sentence, as a notebook shows them."""

    def __init__(self, html: str, alt: str) -> None:
        self.html, self.alt = html, alt

    def _repr_html_(self) -> str:
        return _framed(self.html, self.alt)

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


class Explorer:
    """A drawing with controls. `set(K=5)` moves a control as a reader would.

    Attributes:
        values: what the controls stand at.
        html: the drawing for these values.
    """

    def __init__(self, draw: Callable[..., Any], controls: dict[str, Any], alt: str) -> None:
        import ipywidgets

        self._draw, self._alt = draw, alt
        self.controls = {name: _control(name, choice) for name, choice in controls.items()}
        self.values = {name: control.value for name, control in self.controls.items()}
        self._view = ipywidgets.HTML()
        self._redraw()
        for control in self.controls.values():
            control.observe(self._moved, names="value")
        self.widget = ipywidgets.VBox([*self.controls.values(), self._view])

    @property
    def html(self) -> str:
        """The figure as it is drawn now."""
        return str(self._view.value)

    def set(self, **values: Any) -> "Explorer":
        """Move controls.

        Raises:
            UsageError: for a name that is no control; names those there are.
        """
        for name, value in values.items():
            if name not in self.controls:
                raise UsageError(
                    f"There is no control {name!r}. There are: {', '.join(self.controls)}."
                )
            self.controls[name].value = value
        return self

    def _moved(self, _: Any) -> None:
        self.values = {name: control.value for name, control in self.controls.items()}
        self._redraw()

    def _redraw(self) -> None:
        drawn = self._draw(**self.values)
        alt = drawn.alt if isinstance(drawn, Drawing) else self._alt
        html = drawn.html if isinstance(drawn, Drawing) else _as_html(drawn, alt)
        self._view.value = _framed(html, alt)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        still = {"text/html": self.html, "text/plain": repr(self)}
        live = self.widget._repr_mimebundle_() or {}
        return {**live, **still}

    def __repr__(self) -> str:
        at = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        return f"Figure: {self._alt} ({at})"


def explore(draw: Callable[..., Any], alt: str, **controls: Any) -> Explorer:
    """Sliders over a drawing.

    Args:
        draw: called with a value for every control; gives HTML, a Figure, or `figure(...)`.
        alt: one sentence on what is to be seen.
        controls: (low, high, first) or (low, high, first, step) for a slider; a list for a menu,
            whose first entry is shown first; True or False for a box.

    Raises:
        UsageError: for a control of another kind.
    """
    return Explorer(draw, controls, alt)


def step_through(frames: Sequence[Any], alt: str, first: int = 1) -> Explorer:
    """Back, next and play over a list of drawings.

    Args:
        frames: HTML, Figures or `figure(...)`, in order.
        alt: one sentence on what is to be seen.
        first: the frame shown at first, from 1; it is also the still picture.

    Raises:
        UsageError: if there is no frame.
    """
    if not frames:
        raise UsageError("step_through needs at least one frame, got none.")
    drawn = [frame if isinstance(frame, Drawing) else figure(frame, alt) for frame in frames]
    return _Stepper(lambda step: drawn[step - 1], {"step": (1, len(drawn), first)}, alt)


class _Stepper(Explorer):
    """An explorer whose one control also has buttons."""

    def __init__(self, draw: Callable[..., Any], controls: dict[str, Any], alt: str) -> None:
        import ipywidgets

        super().__init__(draw, controls, alt)
        slider = self.controls["step"]
        back = ipywidgets.Button(description="◀ back", tooltip="one step back")
        forth = ipywidgets.Button(description="next ▶", tooltip="one step on")
        back.on_click(lambda _: setattr(slider, "value", max(slider.value - 1, slider.min)))
        forth.on_click(lambda _: setattr(slider, "value", min(slider.value + 1, slider.max)))
        self.buttons = {"back": back, "next": forth}
        row = ipywidgets.HBox([back, forth, slider])
        self.widget = ipywidgets.VBox([row, self._view])


def _control(name: str, choice: Any) -> Any:
    import ipywidgets

    wide: Any = {
        "description": name.replace("_", " "),
        "style": {"description_width": "initial"},
        "layout": ipywidgets.Layout(width="28em", max_width="100%"),
    }
    if isinstance(choice, bool):
        return ipywidgets.Checkbox(value=choice, **wide)
    if isinstance(choice, list):
        return ipywidgets.Dropdown(options=choice, value=choice[0], **wide)
    if isinstance(choice, tuple) and len(choice) in (3, 4):
        low, high, first = choice[:3]
        whole = all(isinstance(number, int) for number in choice)
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        step = choice[3] if len(choice) == 4 else (1 if whole else (high - low) / 100)
        return kind(value=first, min=low, max=high, step=step, **wide)
    raise UsageError(
        f"Control {name!r} is {choice!r}. Give (low, high, first), (low, high, first, step), a "
        "list of choices, or True or False."
    )


def _framed(html: str, alt: str) -> str:
    return f'<div style="{_PAPER}">{html}<p style="margin:6px 0 0">{escape(alt)}</p></div>'


def _as_html(drawn: Any, alt: str) -> str:
    if isinstance(drawn, str):
        return drawn
    if not hasattr(drawn, "savefig"):
        raise UsageError(
            f"A drawing is HTML text or a matplotlib Figure, got {type(drawn).__name__}."
        )
    from matplotlib import pyplot

    image = io.BytesIO()
    # no date and no version in the file: the same drawing gives the same bytes
    drawn.savefig(
        image,
        format="png",
        dpi=110,
        bbox_inches="tight",
        facecolor="white",
        metadata={"Software": None},
    )
    pyplot.close(drawn)
    data = base64.b64encode(image.getvalue()).decode()
    style = "max-width:100%;height:auto"
    return f'<img alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'
