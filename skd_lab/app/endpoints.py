"""What other programs may ask of a running app (gradio_client): every name is given here."""

import gradio as gr

from skd_lab.app.frame import Frame
from skd_lab.errors import SkdError
from skd_lab.records import dumps_traces


def add_endpoints(frame: Frame) -> None:
    """The public endpoints; all else on the page is private."""

    def recorded(name: str) -> str:
        """Traces of a run as NDJSON (schema skd-trace/1).

        Args:
            name: the run's name; "" for the one that the page opens first.
        """
        names = frame.library.names()
        if not name and not names:
            raise gr.Error("Nothing is recorded yet.")
        try:
            return dumps_traces(frame.library.open(name or names[0]).traces)
        except SkdError as error:
            raise gr.Error(str(error)) from error

    gr.api(recorded, api_name="recorded", queue=False)
