"""Markdown from a bottle as inert HTML: no raw HTML, no pictures, and links that show their target."""

from __future__ import annotations

import html
from collections.abc import MutableMapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bb_jupyter.text.visible import block

#: Most characters of a text that is rendered; a longer one is shown as it is.
_LONGEST = 200_000


def markdown(text: str) -> str:
    """Return *text* as HTML.

    Pictures become links: to show one, the page would fetch it, and its address could carry data out.  The host of a
    link is written behind it, because its text may name another host.  Only http, https and mailto become links.

    Args:
        text: hostile Markdown (CommonMark and tables).
    """
    clean = block(text)
    if len(clean) > _LONGEST:
        return f"<pre>{html.escape(clean)}</pre>"
    # Once more, because an entity such as &#x202e; has become its character only now.
    return block(str(_parser().render(clean)))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 30}).enable("table").disable("image")
    parser.validateLink = _is_link  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("link_close", _link_close)
    return parser


def _is_link(url: str) -> bool:
    return url.lower().startswith(("http://", "https://", "mailto:"))


def _link_open(
    renderer: Any,  # noqa: ANN401 -- the library's own signature
    tokens: Sequence[Token],
    index: int,
    options: object,
    env: MutableMapping[str, Any],
) -> str:
    url = str(tokens[index].attrs.get("href", ""))
    env.setdefault("links", []).append(url)
    return f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer nofollow">'


def _link_close(
    renderer: Any,  # noqa: ANN401
    tokens: Sequence[Token],
    index: int,
    options: object,
    env: MutableMapping[str, Any],
) -> str:
    url = env["links"].pop()
    return f"</a> <small>({html.escape(_target(url))})</small>"


def _target(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
