"""Execute a notebook in the terminal: `python tests/tools/demo.py NOTEBOOK`.

Each cell is printed, then its output, as it goes.  The exit status tells whether every cell worked.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

_CODE, _TEXT, _ERROR, _OFF = ("\033[1;36m", "\033[2m", "\033[31m", "\033[0m") if sys.stdout.isatty() else [""] * 4


class _Player(NotebookClient):
    """A notebook client that writes what a cell puts out to the terminal while it runs."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Print an output of the running cell, then keep it as usual."""
        _print_output(msg["msg_type"], msg["content"])
        return super().process_message(msg, cell, cell_index)


def play(path: Path, folder: str) -> int:
    """Execute the notebook at *path*, printing it.

    Args:
        path: the notebook; its folder is the working directory.
        folder: where the sockets of the kernel go.

    Returns:
        0, or 1 when a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = _Player(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # Over TCP a kernel warns that it does not encrypt.
        config=Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"}),
    )
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            _print_source(cell)
            try:
                client.execute_cell(cell, index)
            except CellExecutionError:
                return 1  # its traceback is printed already
    return 0


def _print_source(cell: Any) -> None:
    if cell.cell_type == "markdown":
        print(f"\n{_TEXT}{cell.source}{_OFF}", flush=True)
    elif cell.cell_type == "code":
        print("\n" + "\n".join(f"{_CODE}│ {line}{_OFF}" for line in cell.source.splitlines()), flush=True)


def _print_output(kind: str, content: dict[str, Any]) -> None:
    if kind == "stream":
        print(content["text"], end="", flush=True)
    elif kind in ("display_data", "execute_result"):
        print(content["data"].get("text/plain", ""), flush=True)
    elif kind == "error":
        print("\n".join(content["traceback"]) or f"{_ERROR}{content['evalue']}{_OFF}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bb-demo-") as folder:
        os.environ |= {"BOT_BOTTLE_HOME": folder, "BOT_BOTTLE_BACKEND": "bubblewrap", "BB_JUPYTER_PLAIN": "1"}
        sys.exit(play(Path(sys.argv[1]), folder))
