"""One Jupyter server and one browser for all tests here; each test has its own notebook, kernel and workspace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.lab import Lab, Server

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = os.environ.get("BB_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
NewLab = Callable[..., Lab]
Picture = Callable[[Page], None]
#: What a test saw, for a person to look at.
PICTURES = Path(".cache/pictures")
PICTURES.mkdir(parents=True, exist_ok=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser" in str(item.path) and not Path(CHROMIUM).exists():
            item.add_marker(pytest.mark.skip(reason=f"no {CHROMIUM}: apt-get install chromium"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        started = Server(Path(folder), {})
        yield started
        started.close()


@pytest.fixture(scope="module")
def server_without_panel() -> Iterator[Server]:
    """As installed without Node: the server extension, but nothing of ours in JupyterLab."""
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        started = Server(Path(folder), {}, panel=False)
        yield started
        started.close()


@pytest.fixture(scope="session", params=["7.4", "7.3"])
def kernel(request: pytest.FixtureRequest, server: Server) -> str:
    """A kernel of each of the two ipykernels that treat a busy kernel's messages differently, by name."""
    version: str = request.param
    if metadata.version("ipykernel").startswith(version):
        return "python3"
    folder = Path(".cache", f"ipykernel-{version}").absolute()
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, f"ipykernel=={version}.*"], check=True)
    server.add_kernel(f"ipykernel-{version}", {"PYTHONPATH": str(folder)})
    return f"ipykernel-{version}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A file's own: while it lives, Playwright's event loop runs in this thread, and tests of asyncio could not."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One browser session for the tests of a file: what JupyterLab consists of is loaded and compiled once."""
    with browser.new_context(viewport={"width": 1280, "height": 860}) as made:
        yield made


@pytest.fixture
def new_lab(server: Server, context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[NewLab]:
    """Open tabs, at the usual server or another."""
    labs: list[Lab] = []

    def new(at: Server = server) -> Lab:
        labs.append(Lab(at, context.new_page()))
        return labs[-1]

    yield new
    if (report := request.node.stash.get(_REPORT, None)) and report.failed:
        for number, page in enumerate(context.pages):
            page.screenshot(path=PICTURES / f"{request.node.name}-failed-{number}.png")
    for lab in labs:
        lab.shut_down()
        lab.page.close()


_REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures see whether the test failed."""
    report = yield
    if report.when == "call":
        item.stash[_REPORT] = report
    return report


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    return new_lab()


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Picture:
    """Keep a picture of a page."""
    taken = iter(range(1, 100))

    def take(page: Page) -> None:
        page.screenshot(path=PICTURES / f"{request.node.name}-{next(taken)}.png")

    return take
