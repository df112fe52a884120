"""The dashboard: the bottles of all kernels and their requests, in a cell.

JupyterLab with the extension of this package draws the dashboard as it draws the panel: from the Jupyter server, even
without a kernel.  Other front ends get a widget.  Its page asks the server if that sees the same bottles; otherwise it
asks the kernel over the widget's comm.  Without a page (nbclient, nbconvert), or on a page without widgets, the
dashboard is HTML or text of the current state.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import anywidget
from traitlets import Unicode

from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.views.page_script import page_script, style_sheet
from bb_jupyter.text.table import escaped, html_table, text_table
from bb_jupyter.text.visible import one_line
from bb_jupyter.webapi import approvals, bottles
from bb_jupyter.webapi.host_id import place
from bb_jupyter.webapi.routes import answer
from bb_jupyter.webapi.watcher import INTERVAL, Watcher

#: Media type that the extension draws in JupyterLab (`labextension/src/renderers.ts`).
MIME = "application/vnd.bb-jupyter.console+json"
_NONE = "no bottle is running"
_HEAD = ("name", "backend", "agent", "state", "owner", "last line")


class Dashboard(anywidget.AnyWidget):
    """Widget with the running bottles of this user, of all kernels and backends: their output and their requests."""

    _esm = page_script("widget.js")
    _css = style_sheet("board.css")
    place = Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(place=place()["place"])
        self._closed = threading.Event()
        self._follower: threading.Thread | None = None
        self._push = False
        self.on_msg(self._heard)

    def __repr__(self) -> str:
        return "Dashboard()"

    def open(self) -> None:
        """Open the widget's comm, if there is a page: an export would otherwise keep the state of a dead widget."""
        if kernel.has_page():
            super().open()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401 -- the base's
        """Return the live display, and the static one for a notebook that is read later."""
        found = super()._repr_mimebundle_(**kwargs) if self.comm is not None else None
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        text, markup = moment()
        return {**data, MIME: {"place": self.place}, "text/html": markup, "text/plain": text}, metadata

    def close(self) -> None:
        """Close the widget.  Idempotent."""
        self._closed.set()
        super().close()

    def _heard(self, _widget: object, message: Mapping[str, Any], _buffers: object) -> None:
        """Handle a message of the page; the main thread runs this when the kernel is idle."""
        if message.get("follow"):
            self._push = self._push or bool(message.get("push"))
            self._follow()
        elif isinstance(message.get("number"), int):
            path, _, query = str(message.get("path")).partition("?")
            body = message.get("body")
            asked = body if isinstance(body, dict) else {}
            status, reply = answer(str(message.get("method")), path, dict(parse_qsl(query)), asked)
            self.send({"number": message["number"], "status": status, "body": reply})

    def _follow(self) -> None:
        if self._follower is None:
            self._follower = threading.Thread(target=self._push_changes, name="bottle dashboard", daemon=True)
            self._follower.start()

    def _push_changes(self) -> None:
        """Send changes to the page; a page without a server also gets the new state, which it would ask for."""
        watcher = Watcher()
        while not self._closed.wait(INTERVAL):
            changed = watcher.changes()
            pushed = {}
            if self._push and "bottles" in changed:
                pushed["bottles"] = bottles.listing()
            if self._push and "approvals" in changed:
                pushed["approvals"] = approvals.pending()
            if changed:
                self.send({"changed": changed, "pushed": pushed})


def moment() -> tuple[str, str]:
    """Return the current state as text and as HTML."""
    rows = [
        [row["name"], row["backend"], row["agent"], row["state"], row["owner"], row["last"][:80]]
        for row in bottles.listing()["bottles"]
    ]
    requests = [f"{row['id']}. {row['bottle']}: {row['kind']}" for row in approvals.pending()["approvals"]]
    text, markup = (text_table(rows, _HEAD), html_table(rows, _HEAD)) if rows else (_NONE, _NONE)
    if requests:
        waiting = one_line(f"waiting for you: {', '.join(requests)}")
        text, markup = f"{text}\n{waiting}", f"{markup}<div>{escaped(waiting)}</div>"
    return text, markup
