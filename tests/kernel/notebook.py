"""A real kernel, driven as a front end drives it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client import BlockingKernelClient, KernelManager

#: Seconds for anything that should happen at once.
PATIENCE = 60.0


@dataclass
class Cell:
    """What one cell has published so far."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        return any(m["msg_type"] == "status" and m["content"]["execution_state"] == "idle" for m in self.messages)

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    @property
    def streams(self) -> list[tuple[str, str]]:
        """The stream outputs as a saved notebook has them: neighbours of one name are one."""
        merged: list[tuple[str, str]] = []
        for message in self.of("stream"):
            name, text = message["content"]["name"], message["content"]["text"]
            if merged and merged[-1][0] == name:
                merged[-1] = (name, merged[-1][1] + text)
            else:
                merged.append((name, text))
        return merged

    @property
    def error(self) -> str:
        """The traceback as shown, without colours."""
        shown = ["\n".join(message["content"]["traceback"]) for message in self.of("error")]
        return "\n".join(shown).replace("\x1b[31m", "").replace("\x1b[39m", "")

    @property
    def displays(self) -> list[dict[str, str]]:
        """The displays as a saved notebook has them: each in its last state."""
        found: dict[str, dict[str, str]] = {}
        for message in self.of("display_data", "update_display_data"):
            key = message["content"].get("transient", {}).get("display_id") or message["header"]["msg_id"]
            found[key] = message["content"]["data"]
        return list(found.values())

    @property
    def ok(self) -> bool:
        return bool(self.reply.get("status") == "ok")

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["msg_type"] in kinds]

    def _text(self, name: str) -> str:
        return "".join(m["content"]["text"] for m in self.of("stream") if m["content"]["name"] == name)


class Notebook:
    """A kernel with our extension loaded.

    Args:
        environment: variables beside this process's.
        cwd: the kernel's directory.
    """

    def __init__(self, environment: Mapping[str, str], cwd: str) -> None:
        # A port that was free is not always so when the kernel gets to it, with other tests beside this one.
        self._sockets = TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True)
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{self._sockets.name}/kernel")
        self._environment, self._cwd = {**os.environ, **environment}, cwd
        self.manager.start_kernel(env=self._environment, cwd=cwd)
        self.client: BlockingKernelClient = self.manager.client()
        self.cells: dict[str, Cell] = {}
        self._connect()

    def _connect(self) -> None:
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        assert self.run("%load_ext bb_jupyter").ok

    def start(self, code: str) -> str:
        """Send a cell; return its id."""
        key: str = self.client.execute(code)
        self.cells[key] = Cell()
        return key

    def run(self, code: str) -> Cell:
        """Run a cell to its end."""
        return self.finish(self.start(code))

    def finish(self, key: str) -> Cell:
        """Wait for the end of a cell."""
        cell = self.until(key, lambda cell: cell.idle)
        while not cell.reply:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            self.cells.setdefault(reply["parent_header"]["msg_id"], Cell()).reply = reply["content"]
        return cell

    def until(self, key: str, condition: Callable[[Cell], bool]) -> Cell:
        """Wait until what a cell has published meets *condition*."""
        deadline = time.monotonic() + PATIENCE
        cell = self.cells[key]
        while not condition(cell):
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            parent = message["parent_header"].get("msg_id", "")
            self.cells.setdefault(parent, Cell()).messages.append(message)
        return cell

    def complete(self, code: str) -> dict[str, Any]:
        """Ask for completions at the end of *code*."""
        return self._ask(self.client.complete(code))

    def inspect(self, code: str) -> str:
        """Return what `?` shows."""
        found: str = self._ask(self.client.inspect(code))["data"].get("text/plain", "")
        return found

    def _ask(self, key: str) -> dict[str, Any]:
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"]["msg_id"] == key:
                content: dict[str, Any] = reply["content"]
                return content

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel()
        self.client = self.manager.client()
        self._connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()
        self._sockets.cleanup()
