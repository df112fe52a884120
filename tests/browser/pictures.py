"""`python -m tests.browser.pictures FOLDER`: the pictures of the README, from a real JupyterLab.

Run it as an ordinary user (`tests/tools/as_user.py`), as a reader does; root is warned in the preflight.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.lab import Lab, Server

_FIRST = """%%bottle demo --memory 512m
echo hello from $(hostname)
for i in 1 2 3 4 5; do echo step $i; sleep 0.6; done
echo "the bottle remembers" > note.txt"""
_ASKS = "%%bottle_manifest asks\nsupervise: true"
_AGENT = """%%bottle helper --bottle asks --agent shell
think The docs say how numpy does it: I want to read them.
mcp request_host {"host": "numpy.org", "reason": "to read how numpy.mean treats no values"}
done Done."""
_COLOURS, _FRAMES = 128, 22


def take(folder: Path) -> None:
    """Take all of them into *folder*."""
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as place, sync_playwright() as playwright:
        server = Server(Path(place), {"BOT_BOTTLE_BACKEND": "", "DOCKER_HOST": ""})  # nothing is configured yet
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            lab = Lab(server, browser.new_page(viewport={"width": 1000, "height": 640}))
            _streaming(lab, folder)
            _asking(lab, folder)
            browser.close()
        finally:
            server.close()


def _streaming(lab: Lab, folder: Path) -> None:
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", _FIRST))
    lab.run("application:toggle-left-area")
    notebook.run(0)
    frames = [_shot(lab.page)]
    notebook.start(1)
    for _ in range(_FRAMES):
        frames.append(_shot(lab.page))
        time.sleep(0.15)
    notebook.done(1)
    frames.append(_shot(lab.page))
    small = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=_COLOURS).convert("RGB") for frame in frames]
    lengths = [200] * (len(small) - 1) + [3000]
    small[0].save(
        folder / "cell.webp", save_all=True, append_images=small[1:], duration=lengths, loop=0, quality=60, method=6
    )


def _asking(lab: Lab, folder: Path) -> None:
    notebook = lab.open(
        lab.server.add("%load_ext bb_jupyter", _ASKS, "%%bottle helper --bottle asks --agent shell", _AGENT)
    )
    lab.page.set_viewport_size({"width": 1100, "height": 720})
    lab.show_panel()
    for number in range(3):
        notebook.run(number)
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets[2].model.outputs.clear()")
    notebook.start(3)
    card = notebook.outputs(3).locator(".bb-card")
    expect(card).to_be_visible()
    expect(lab.page.locator("#bb-jupyter-panel .bb-card")).to_be_visible()
    card.scroll_into_view_if_needed()
    lab.page.add_style_tag(content="[class*='oast'], [class*='jp-Notification'] { visibility: hidden !important }")
    few = _shot(lab.page).convert("P", palette=Image.Palette.ADAPTIVE, colors=_COLOURS)
    few.save(folder / "panel.png", optimize=True)
    card.get_by_role("button", name="Deny").click()
    notebook.done(3)


def _shot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    take(Path(sys.argv[1]))
