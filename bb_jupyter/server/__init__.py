"""The Jupyter Server extension behind the lab panel: the console over REST, changes over Jupyter's event stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter Server where the extension is."""
    return [{"module": "bb_jupyter.server"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Add the handlers and start watching: what Jupyter Server calls at its start."""
    from bb_jupyter.server.events import watch
    from bb_jupyter.server.handlers import add_handlers

    add_handlers(server)
    watch(server)
    server.log.info("bb_jupyter: bottles and approvals are served")
