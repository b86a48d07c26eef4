"""Pages ask nobody for anything, and no text gets out of its place in them."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest
from synthetic import HOSTILE

from skd_lab.views.page import Fragment, escape, script_json, visible


class Reader(HTMLParser):
    """Elements and text as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_stays_text_in_elements_and_attributes(text):
    page = Reader(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert page.elements == [("p", {"title": visible(text)})]
    # the parser normalises nothing but line ends
    assert page.text == visible(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_json_in_a_script_comes_back_whole_and_cannot_end_it(text):
    written = script_json({"value": text})
    assert "<" not in written and written.isascii()
    assert json.loads(written) == {"value": text}


def test_hidden_characters_are_written_out():
    assert visible("a\u202eb\x00c\nd") == "a[U+202E]b[U+0000]c\nd"
    for text in HOSTILE:
        assert not re.search("[\x00-\x08\u2028-\u202e\u200b\ufeff\ud800-\udfff]", visible(text))
    assert visible("\U0001f469\u200d\U0001f4bb") == "\U0001f469\u200d\U0001f4bb"


def test_a_page_allows_its_own_script_and_nothing_else():
    fragment = Fragment("A <b>title</b>", "<p>text</p>", script="window.x = 1;")
    page = fragment.page()
    [policy] = [
        attributes["content"]
        for tag, attributes in Reader(page).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    digest = base64.b64encode(hashlib.sha256(b"window.x = 1;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "<title>A &lt;b&gt;title&lt;/b&gt;</title>" in page
    assert not re.search(r"(src|href)=", page)


def test_an_iframe_holds_the_page_and_may_only_run_scripts():
    fragment = Fragment("t", "<p>text</p>", script="window.x = 1;")
    [(tag, attributes)] = Reader(fragment.iframe(height=300)._repr_html_()).elements
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts allow-downloads"
    assert attributes["srcdoc"] == fragment.page()
    assert "height:300px" in attributes["style"]


def test_a_fragment_saves_and_prints(tmp_path):
    fragment = Fragment("t", "<p>text</p>", text="plain")
    assert fragment.save(tmp_path / "deep" / "a.html").read_text() == fragment.page()
    assert repr(fragment) == "plain" and fragment._repr_html_() == "<p>text</p>"
    assert html.escape("x") == "x"
