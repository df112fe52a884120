"""Rows about what a person sees, in a real JupyterLab: a line's way to the screen, a hundred bottles, the bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from tests.bench.measure import Row
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.lab import Lab, Notebook, Server, cpu_seconds

_LINES, _BOTTLES, _BUSY, _SECONDS = 100, 100, 5, 15.0
#: Prints the time of each line in milliseconds.
_CLOCK = f"for i in $(seq {_LINES}); do date +at=%s%3N.; sleep 0.07; done"
_BUNDLE = Path("bb_jupyter/labextension/static")
#: Notes when each line's text is in the page and a frame has been drawn.
_OBSERVE = """number => {
    window.bbSeen = new Map();
    const area = window.jupyterapp.shell.currentWidget.content.widgets[number].outputArea.node;
    const look = () => requestAnimationFrame(() => setTimeout(() => {
        for (const [, time] of area.innerText.matchAll(/at=(\\d+)\\./g))
            if (!window.bbSeen.has(time)) window.bbSeen.set(time, Date.now() - Number(time));
    }));
    new MutationObserver(look).observe(area, { childList: true, subtree: true, characterData: true });
}"""
_FILL = f"""
import bb_jupyter
kept = [bb_jupyter.launch(f"many{{n}}", backend="bubblewrap") for n in range({_BOTTLES})]
runs = [bottle.run("for i in $(seq 600); do echo line $i; sleep 0.5; done") for bottle in kept[:{_BUSY}]]
import threading
for execution, _ in runs:
    threading.Thread(target=execution.wait, daemon=True).start()
print("all are up")
"""
#: What the server does not see, the page asks the kernel for: as where there is no Jupyter server at all.
_OWN_HOME = "import os, tempfile; os.environ['BOT_BOTTLE_HOME'] = tempfile.mkdtemp(prefix='bb-', dir='/tmp')"


def seen() -> Iterator[Row]:
    """A line to the screen; a hundred bottles in the panel; what the browser loads."""
    with _lab() as lab:
        yield _line_to_pixels(lab)
        yield _hundred(lab)
    with _lab(panel=False) as lab:
        yield _hundred_asked_of_the_kernel(lab)
    size = sum(file.stat().st_size for file in _BUNDLE.glob("*.js")) / 1000
    yield Row("panel: bundle", "-", "small", unit="kB", ours=[size])


@contextmanager
def _lab(*, panel: bool = True) -> Iterator[Lab]:
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True))
        server = Server(Path(folder), {}, panel=panel)
        stack.callback(server.close)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        stack.callback(browser.close)
        yield Lab(server, browser.new_page())


def _line_to_pixels(lab: Lab) -> Row:
    """Against `%%bash`, which reads 100 bytes at a time and so shows some lines late."""
    cells = ("%load_ext bb_jupyter", "%%bottle clock\ntrue", f"%%bottle clock\n{_CLOCK}", f"%%bash\n{_CLOCK}")
    notebook = lab.open(lab.server.add(*cells))
    notebook.run(0)
    notebook.run(1)
    row = Row("a bottle's line to pixels in the cell", "%%bash", "<= 1x")
    row.ours, row.theirs = _delays(notebook, 2), _delays(notebook, 3)
    row.facts["ipykernel"] = float(".".join(metadata.version("ipykernel").split(".")[:2]))
    return row


def _delays(notebook: Notebook, number: int) -> list[float]:
    notebook.page.evaluate(_OBSERVE, number)
    notebook.run(number)
    notebook.page.wait_for_function("count => window.bbSeen.size === count", arg=_LINES)
    return [float(delay) for delay in notebook.page.evaluate("[...window.bbSeen.values()]")]


def _hundred(lab: Lab) -> Row:
    """Processor time of server and page per second, with the panel open and five bottles printing twice a second."""
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", _FILL))
    notebook.run(0)
    notebook.run(1)
    lab.show_panel().locator(".bb-row").nth(_BOTTLES - 1).wait_for()
    row = Row(f"panel: {_BOTTLES} bottles, CPU of the page", "-", "smooth", unit="%")
    page = _page(lab)
    [row.ours, server] = _percent(page, lab.server.cpu_seconds)
    row.facts["CPU of the server %"] = server[0]
    row.facts["one look at all, ms"] = _look(lab)
    return row


def _hundred_asked_of_the_kernel(lab: Lab) -> Row:
    """Processor time of a kernel that alone tells a dashboard of all this, beyond that of holding the bottles."""
    cells = (f"{_OWN_HOME}; print(os.getpid())", "%load_ext bb_jupyter", _FILL, "%bottle dashboard")
    notebook = lab.open(lab.server.add(*cells))
    pid = int(notebook.run(0).inner_text())
    notebook.run(1)
    notebook.run(2)
    page, kernel = _page(lab), partial(cpu_seconds, pid)
    [_, before] = _percent(page, kernel)
    notebook.run(3).locator(".bb-row").nth(_BOTTLES - 1).wait_for()
    [seen, after] = _percent(page, kernel)
    row = Row(f"dashboard: {_BOTTLES} bottles, CPU of its kernel", "-", "smooth", unit="%", ours=[after[0] - before[0]])
    row.facts |= {"CPU of the kernel without it %": before[0], "CPU of the page %": seen[0]}
    return row


def _percent(*used: Callable[[], float]) -> list[list[float]]:
    """Return which part of a processor each took meanwhile; each tells the seconds that it has used so far."""
    start, before = time.monotonic(), [each() for each in used]
    time.sleep(_SECONDS)
    passed = time.monotonic() - start
    return [[100 * (each() - then) / passed] for each, then in zip(used, before, strict=True)]


def _look(lab: Lab) -> float:
    """Return how long the panel's own question for the list takes, in milliseconds."""
    found: float = lab.page.evaluate(
        """async () => {
            const start = performance.now();
            for (let i = 0; i < 5; i++) await fetch('/bb-jupyter/bottles');
            return (performance.now() - start) / 5;
        }"""
    )
    return found


def _page(lab: Lab) -> Callable[[], float]:
    """Return what tells how long the page's main thread has been at work (CDP Performance.getMetrics, TaskDuration)."""
    session = lab.page.context.new_cdp_session(lab.page)
    session.send("Performance.enable")

    def seconds() -> float:
        metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    return seconds
