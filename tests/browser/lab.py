"""A real Jupyter server of its own, and notebooks in a real browser, driven as a person drives them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator, Page, TimeoutError, expect

#: Seconds for anything that should happen soon, on a machine that does other things, too.
PATIENCE = 60.0
expect.set_options(timeout=PATIENCE * 1000)

_CONFIG = {
    "JupyterNotebookApp": {"expose_app_in_browser": True},
    "LabApp": {
        "expose_app_in_browser": True,
        "news_url": None,
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    },
    "ServerApp": {"allow_root": True, "open_browser": False, "ip": "127.0.0.1", "port": 0},
}
#: A front end that does without subshells, as most but JupyterLab do: a busy kernel hears its comms after the cell.
_NO_SUBSHELLS = {"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}}
#: Also when the tests are interrupted or killed.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
_OFF = {"@jupyterlab/apputils-extension:announcements": True, "@jupyterlab/extensionmanager-extension": True}


class Server:
    """`jupyter lab` with a folder, a home and settings of its own.

    Args:
        folder: an empty one.
        environment: variables beside this process's.
        panel: with our extension of JupyterLab; without it there are no subshells either, as elsewhere.
        command: what comes before `jupyter`, to run it as somebody else.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, panel: bool = True, command: Sequence[str] = ()
    ) -> None:
        self.folder, self.token = folder, secrets.token_hex(16)
        self.notebooks, self.home = folder / "notebooks", folder / "home"
        config, off = folder / "config", {**_OFF, "bb-jupyter": not panel}
        for made in (self.notebooks, self.home, config, config / "labconfig"):
            made.mkdir()
        (config / "jupyter_server_config.json").write_text(json.dumps(_CONFIG))
        (config / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": off}))
        overrides = {} if panel else _NO_SUBSHELLS
        (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(overrides))
        places = {"CONFIG": config, "DATA": folder / "data", "RUNTIME": folder / "runtime"}
        lab = [sys.executable, "-m", "jupyter", "lab", f"--IdentityProvider.token={self.token}"]
        self._process = subprocess.Popen(
            [*command, *_ENDS_WITH_US, *lab],
            cwd=self.notebooks,
            env={
                **os.environ,
                **{f"JUPYTER_{name}_DIR": str(path) for name, path in places.items()},
                "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
                "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                "IPYTHONDIR": str(folder / "ipython"),
                "BOT_BOTTLE_HOME": str(self.home),
                "BOT_BOTTLE_BACKEND": "bubblewrap",
                **environment,
            },
            stdout=(folder / "server.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.url = self._wait(folder / "runtime")

    def _wait(self, runtime: Path) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            for found in runtime.glob("jpserver-*.json"):
                if text := found.read_text():
                    return str(json.loads(text)["url"])
            time.sleep(0.1)
        raise RuntimeError((self.folder / "server.log").read_text()[-4000:])

    def add_kernel(self, name: str, environment: Mapping[str, str]) -> None:
        """Offer a kernel of this Python with other variables."""
        folder = self.folder / "data" / "kernels" / name
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python", "env": dict(environment)}
        (folder / "kernel.json").write_text(json.dumps(spec))

    def add(self, *cells: str, kernel: str = "python3") -> str:
        """Write a fresh notebook; return its name."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        )
        name = f"n{secrets.token_hex(4)}.ipynb"
        nbformat.write(notebook, self.notebooks / name)
        return name

    def cpu_seconds(self) -> float:
        """Return the processor time that the server itself has used."""
        return cpu_seconds(self._process.pid)

    def close(self) -> None:
        """End it and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process itself has used (proc(5), fields 14 and 15 of stat)."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


class Lab:
    """One tab with JupyterLab.

    Args:
        server: serves it.
        page: the tab.
    """

    def __init__(self, server: Server, page: Page) -> None:
        self.server, self.page = server, page
        #: Chromium drops what it loads whenever an interface of the machine comes or goes, as those of containers do.
        self._dropped: list[str] = []
        page.on("requestfailed", lambda request: self._dropped.append(request.failure or ""))

    def open(self, name: str) -> Notebook:
        """Open a notebook in a workspace of its own, and wait until its kernel is ready for cells."""
        return self._open(name, f"lab/workspaces/{secrets.token_hex(4)}/tree/{name}")

    def open_in_notebook_7(self, name: str) -> Notebook:
        """Open a notebook in Jupyter Notebook, and wait until its kernel is ready for cells."""
        return self._open(name, f"notebooks/{name}")

    def _open(self, name: str, path: str) -> Notebook:
        notebook = Notebook(self.page, name)
        self.page.goto(f"{self.server.url}{path}?token={self.server.token}")
        try:
            notebook.ready()
        except TimeoutError:
            if "net::ERR_NETWORK_CHANGED" not in self._dropped:
                raise
            self.page.reload()
            notebook.ready()
        return notebook

    def start(self) -> None:
        """Open the lab in a workspace of its own, without any notebook."""
        self.page.goto(f"{self.server.url}lab/workspaces/{secrets.token_hex(4)}?reset&token={self.server.token}")
        self.page.wait_for_function("window.jupyterapp?.restored")
        self.page.evaluate("window.jupyterapp.restored")

    def run(self, command: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Run a command of the lab and wait for its end."""
        self.page.evaluate(
            "([command, args]) => window.jupyterapp.commands.execute(command, args)", [command, dict(arguments or {})]
        )

    def shut_down(self) -> None:
        """End the kernels, with their bottles."""
        self.page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")

    def look_away(self) -> None:
        """Take pointer and focus away: nothing of ours goes while somebody is at it."""
        self.page.mouse.move(0, 0)
        self.page.evaluate("document.activeElement?.blur()")

    def show_panel(self) -> Locator:
        """Open the sidebar."""
        self.page.wait_for_function("window.jupyterapp?.commands.hasCommand('bb-jupyter:show')")
        self.run("bb-jupyter:show")
        panel = self.page.locator("#bb-jupyter-panel")
        expect(panel).to_be_visible()
        return panel


class Notebook:
    """The notebook in front of a tab.

    Args:
        page: the tab.
        name: of the file.
    """

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name

    def ready(self) -> None:
        """Wait for the document, the session, and a kernel that answers and is idle."""
        self.page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.context?.isReady", timeout=PATIENCE * 1000
        )
        self.page.evaluate(
            """async () => {
                const { context } = window.jupyterapp.shell.currentWidget;
                await context.ready;
                await context.sessionContext.ready;
                await context.sessionContext.session.kernel.info;
            }"""
        )
        self.idle()

    def idle(self) -> None:
        """Wait until the kernel is idle."""
        self.page.wait_for_function(
            "window.jupyterapp.shell.currentWidget.context.sessionContext.session?.kernel?.status === 'idle'",
            timeout=PATIENCE * 1000,
        )

    def start(self, number: int) -> None:
        """Run a cell; do not wait."""
        self.page.evaluate(
            """number => {
                window.jupyterapp.shell.currentWidget.content.activeCellIndex = number;
                window.bbDone = {...window.bbDone, [number]: false};
                window.jupyterapp.commands.execute('notebook:run-cell').then(() => { window.bbDone[number] = true; });
            }""",
            number,
        )

    def run(self, number: int) -> Locator:
        """Run a cell to its end; return its outputs."""
        self.start(number)
        self.done(number)
        return self.outputs(number)

    def done(self, number: int) -> None:
        """Wait for the end of a cell that was started on this page."""
        self.page.wait_for_function("number => window.bbDone[number]", arg=number, timeout=PATIENCE * 1000)

    def running(self, number: int) -> bool:
        """Whether a cell runs."""
        state = self.page.evaluate(
            "number => window.jupyterapp.shell.currentWidget.content.widgets[number].model.executionState", number
        )
        return bool(state == "running")

    def cell(self, number: int) -> Locator:
        """Return a cell."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").nth(number)

    def outputs(self, number: int) -> Locator:
        """Return the output area of a cell."""
        return self.cell(number).locator(".jp-Cell-outputArea")
