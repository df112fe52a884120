"""Promises of the git gate in real bottles: the upstream's own URL works, and a push waits for a human."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter import manifest
from bb_jupyter.approvals import pending, status
from bb_jupyter.backend import registry
from bb_jupyter.broker.effects import approve, deny
from bb_jupyter.core.bottle_handle import BottleHandle
from tests.contract.conftest import Launch, out, sh
from tests.integration.git_gate.conftest import https, make_upstream, sshd  # noqa: F401 - the fixtures
from tests.integration.git_gate.upstreams import TOKEN, Upstream, bare, git

_CHANGE = "cd work && date +%N >>file && git add file && git commit -qm change"
#: What another kernel does: a bottle that pushes, and then nothing, until it is killed.
_KERNEL = """
import json, sys, time
from bb_jupyter import manifest
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
name, backend, text, script = sys.argv[1:]
manifest.define_bottle(name, text)
held = Session().launch(name, LaunchOptions(backend=backend, bottle=name))
done = held.exec(["sh", "-c", script]).wait()
print(json.dumps([done.returncode, done.stderr.decode()]), flush=True)
time.sleep(600)
"""


def gated(**repos: Upstream) -> str:
    """Return a manifest with these repositories."""
    listed: dict[str, Any] = {alias: {"url": upstream.url, **upstream.keys} for alias, upstream in repos.items()}
    return json.dumps({"git-gate": {"user": {"name": "A. Researcher", "email": "a@example.org"}, "repos": listed}})


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    path = bare(tmp_path)
    return Upstream(path, str(path))


@pytest.fixture
def bottle(launch: Launch, upstream: Upstream, bottle_name: str) -> BottleHandle:
    manifest.define_bottle(bottle_name, gated(widgets=upstream))
    handle = launch(bottle=bottle_name)
    out(handle, f"git clone -q file://{upstream.path} work")
    return handle


@pytest.mark.parametrize("kind", ["path", "ssh", "https"])
def test_the_upstreams_own_url_works(
    kind: str, launch: Launch, bottle_name: str, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    upstream = make_upstream(kind, request, tmp_path, monkeypatch)
    manifest.define_bottle(bottle_name, gated(widgets=upstream))
    handle = launch(bottle=bottle_name)
    for number, url in enumerate((upstream.url, upstream.url.removesuffix(".git"))):
        out(handle, f"git clone -q {url} clone{number}")
    assert out(handle, "git -C clone1 log -1 --format=%s").strip() == "change README.md"
    said = sh(handle, f"cd clone0 && date >file && git commit -qam mine && git push {upstream.url} HEAD:main")
    assert said.returncode == 0, said
    (proposal,) = pending()
    assert f"remote: Held for review: request {proposal.id}".encode() in said.stderr
    assert said.duration < 60
    outcome = approve(proposal.id).outcome
    assert outcome is not None
    assert outcome.ok, outcome
    sha = upstream.refs()["refs/heads/main"]
    assert git(upstream.path, "log", "-1", "--format=%an <%ae>", sha) == "A. Researcher <a@example.org>"
    out(handle, "git -C clone1 fetch -q")
    assert out(handle, "git -C clone1 rev-parse origin/main").strip() == sha
    assert TOKEN not in out(handle, "env; cat ~/.gitconfig; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")


def test_a_bottle_with_a_gate_alone_reaches_nothing_else(bottle: BottleHandle) -> None:
    assert bottle.bottle.network.state == "none"
    assert sh(bottle, "curl -sS --max-time 5 http://example.org").returncode != 0
    assert out(bottle, "curl -s -o /dev/null -w '%{http_code}' http://git-gate:9418/").strip() == "404"


def test_a_denial_is_read_at_the_next_fetch(bottle: BottleHandle, upstream: Upstream) -> None:
    before = upstream.refs()
    out(bottle, f"{_CHANGE} && git push -q")
    deny(pending()[0].id, why="not like this")
    assert "remote: Denied: request 1 (refs/heads/main): not like this" in out(bottle, "git -C work fetch 2>&1")
    assert upstream.refs() == before


def test_a_held_push_outlives_its_bottle(bottle: BottleHandle, upstream: Upstream, home: Path) -> None:
    out(bottle, f"{_CHANGE} && git push -q")
    sha = out(bottle, "git -C work rev-parse HEAD").strip()
    bottle.stop()
    (proposal,) = pending()
    outcome = approve(proposal.id).outcome
    assert outcome is not None
    assert outcome.ok, outcome
    assert upstream.refs() == {"refs/heads/main": sha}
    assert not list(home.glob("git/*"))


def test_nothing_of_the_gate_stays_when_nothing_is_held(bottle: BottleHandle, home: Path) -> None:
    assert list(home.glob("git/*/widgets.git"))
    bottle.stop()
    assert not list(home.glob("git/*"))


def test_two_bottles_of_one_repository_push_at_once(
    bottle: BottleHandle, launch: Launch, upstream: Upstream, bottle_name: str
) -> None:
    other = launch(f"{bottle_name}b", bottle=bottle_name)
    out(other, f"git clone -q file://{upstream.path} work")
    pushes = [handle.exec(["sh", "-c", f"{_CHANGE} && git push -q"], timeout=120) for handle in (bottle, other)]
    assert [push.wait().returncode for push in pushes] == [0, 0]
    first, second = pending()
    assert {first.slug, second.slug} == {bottle.bottle.plan.slug, other.bottle.plan.slug}
    assert [approve(first.id).outcome.ok, approve(second.id).outcome.ok] == [True, False]  # type: ignore[union-attr]
    assert [handle.id for handle in pending()] == [second.id]
    late = bottle if second.slug == bottle.bottle.plan.slug else other
    out(late, "cd work && git pull -q --rebase -X theirs && git push -q")
    (again,) = pending()
    outcome = approve(again.id).outcome
    assert outcome is not None
    assert outcome.ok, outcome
    other.stop()


def test_the_kernel_is_killed_between_hold_and_approval(
    backend: str, upstream: Upstream, bottle_name: str, home: Path
) -> None:
    script = f"git clone -q file://{upstream.path} work && {_CHANGE} && git push"
    argv = [sys.executable, "-c", _KERNEL, bottle_name, backend, gated(widgets=upstream), script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as kernel:
        assert kernel.stdout is not None
        returncode, said = json.loads(kernel.stdout.readline())
        assert returncode == 0, said
        kernel.send_signal(signal.SIGKILL)
    (proposal,) = pending()
    outcome = approve(proposal.id).outcome
    assert outcome is not None
    assert outcome.ok, outcome
    assert upstream.refs()["refs/heads/main"] == proposal.content["refs"][0]["new"]
    assert status(proposal.id).state == "approved"
    runs = registry.get(backend)
    runs.cleanup(runs.prepare_cleanup())
