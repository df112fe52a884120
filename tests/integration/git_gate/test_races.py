"""Many at once, and those who leave in the middle."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import random
import resource
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from bb_jupyter.approvals import LivenessLock, Proposal, Status, all_proposals, status
from bb_jupyter.broker.effects import approve
from bb_jupyter.broker.git_gate import push_notices
from bb_jupyter.broker.git_gate.mirror import mirrors_dir, sweep
from bb_jupyter.errors import AlreadyDecided, TokenMismatch
from tests.integration.git_gate.conftest import SLUG, Clone, Gate, config
from tests.integration.git_gate.upstreams import CLEAN, Upstream, commit, git


def until(check: Callable[[], bool]) -> None:
    """Wait for something that has to come."""
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("head_start", [0.0, 0.3, 0.6])
def test_an_approval_races_a_new_push(gate: Gate, clone: Clone, upstream: Upstream, head_start: float) -> None:
    before = upstream.refs()["refs/heads/main"]
    first = commit(clone.folder)
    clone.push()
    shown = gate.pending()[0]
    commit(clone.folder)
    with ThreadPoolExecutor() as pool:
        pushing = pool.submit(clone.git, "push")
        time.sleep(head_start)
        with contextlib.suppress(AlreadyDecided, TokenMismatch):
            approve(shown.id, token=shown.token)
        pushing.result()
    # What was shown is there or not; what nobody was shown is not.
    assert upstream.refs()["refs/heads/main"] == (first if status(shown.id).state == "approved" else before)


def test_what_was_shown_and_then_replaced_cannot_be_approved(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    before = upstream.refs()
    commit(clone.folder)
    clone.push()
    shown = gate.pending()[0]
    commit(clone.folder)
    clone.push()
    with pytest.raises(AlreadyDecided):
        approve(shown.id, token=shown.token)
    with pytest.raises(TokenMismatch):
        approve(gate.pending()[0].id, token=shown.token)
    assert upstream.refs() == before


def test_a_push_is_held_whole_though_old_ones_are_let_go_of_meanwhile(
    gate: Gate, clone: Clone, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[str] = []

    def late(slug: str) -> list[tuple[Proposal, Status]]:
        found = all_proposals(slug)
        if not pushed:
            pushed.append(commit(clone.folder, "second"))
            clone.push("origin", "HEAD:second")
        return found

    commit(clone.folder, "first")
    clone.push("origin", "HEAD:first")
    monkeypatch.setattr(push_notices, "all_proposals", late)
    clone.git("fetch")
    held = git(home / "git" / SLUG / "widgets.git", "for-each-ref", "--format=%(objectname)", "refs/held").split()
    assert pushed[0] in held and len(held) == 2


def test_what_begins_looks_past_the_mirrors_of_those_that_live(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(seconds: float) -> None:
        raise AssertionError("nothing is to be waited for")

    monkeypatch.setattr(time, "sleep", wait)
    folders = [mirrors_dir(f"{name}-1a2b3c4d") for name in ("alive", "ended", "unknown")]
    for folder in folders:
        folder.mkdir(parents=True)
    LivenessLock("ended-1a2b3c4d").close()
    with contextlib.closing(LivenessLock("alive-1a2b3c4d")):
        sweep()
    assert [folder.exists() for folder in folders] == [True, False, False]


def test_many_clones_and_pushes_at_once(gate: Gate, tmp_path: Path) -> None:
    def work(number: int) -> None:
        clone = Clone(tmp_path / f"clone{number}", f"{gate.url}/widgets.git")
        commit(clone.folder, f"by{number}")
        clone.push("origin", f"HEAD:by{number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert sorted(held.content["files"][0]["path"] for held in gate.pending()) == [f"by{n}" for n in range(6)]


def test_two_approvals_of_one_push_release_it_once(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    sha = commit(clone.folder)
    clone.push()

    def decide(_: int) -> str:
        try:
            approve(1)
        except AlreadyDecided:
            return "late"
        return "first"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(decide, range(4))) == ["first", "late", "late", "late"]
    assert upstream.refs()["refs/heads/main"] == sha


def test_who_leaves_in_the_middle_of_a_push_leaves_nothing(gate: Gate, clone: Clone, home: Path) -> None:
    mirror = home / "git" / SLUG / "widgets.git"
    address = gate.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as leaving:
        head = "POST /widgets.git/git-receive-pack HTTP/1.1\r\nHost: git-gate\r\nTransfer-Encoding: chunked\r\n"
        leaving.sendall(f"{head}Content-Type: application/x-git-receive-pack-request\r\n\r\n".encode())
        line = f"{'0' * 40} {'1' * 40} refs/heads/x\0 report-status\n"
        body = f"{len(line) + 4:04x}{line}0000PACK".encode()
        leaving.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        until(lambda: _backends(home) > 0)
    until(lambda: _backends(home) == 0)
    assert not list((mirror / "objects").glob("*incoming*"))
    commit(clone.folder)
    clone.push()


def _backends(home: Path) -> int:
    """Count git's processes for this gate."""
    found = 0
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            text = environ.read_bytes()
            found += f"GIT_PROJECT_ROOT={home}/".encode() in text
    return found


def test_a_compressed_request_is_understood(gate: Gate, clone: Clone) -> None:
    headers = {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Encoding": "gzip",
        "Git-Protocol": "version=2",
    }
    body = gzip.compress(b"0014command=ls-refs\n0000")
    with urlopen(Request(f"{gate.url}/widgets.git/git-upload-pack", body, headers), timeout=60) as answer:
        assert b"refs/heads/main" in answer.read()


def test_a_small_request_that_unpacks_to_a_huge_one_is_not_answered(gate: Gate, clone: Clone) -> None:
    """git takes an hour and gigabytes to look for everything that such a one names."""
    headers = {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Encoding": "gzip",
        "Git-Protocol": "version=2",
    }
    begin = f"0012command=fetch\n00010032want {git(clone.folder, 'rev-parse', 'HEAD')}\n".encode()
    end, have = b"0009done\n0000", b"0032have " + b"1" * 40 + b"\n"
    for count, answered in ((1_000, True), (1_000_000, False)):
        body = gzip.compress(begin + have * count + end)
        with urlopen(Request(f"{gate.url}/widgets.git/git-upload-pack", body, headers), timeout=60) as answer:
            assert (b"packfile" in answer.read()) is answered


def test_big_packs_stream_both_ways_with_flat_memory(
    upstream: Upstream, gates: Callable[..., Gate], tmp_path: Path
) -> None:
    gate = gates(config(upstream, max_push=50 << 20))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    (clone.folder / "big").write_bytes(random.randbytes(24 << 20))
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "-qm", "big")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clone.push()
    approve(1)
    git(tmp_path, "clone", "-q", f"{gate.url}/widgets.git", "again")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    assert (tmp_path / "again" / "big").stat().st_size == 24 << 20


def test_the_gate_answers_others_while_it_scans(gate: Gate, clone: Clone, tmp_path: Path) -> None:
    (clone.folder / "text").write_text("\n".join(f"{n} {random.random()}" for n in range(200_000)))
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "-qm", "much")
    with subprocess.Popen(["git", "push", "-q"], cwd=clone.folder, env=CLEAN, stderr=subprocess.PIPE) as push:
        git(tmp_path, "clone", "-q", f"{gate.url}/widgets.git", "meanwhile")
        push.communicate(timeout=120)
    assert push.returncode == 0
    assert (tmp_path / "meanwhile" / "README.md").exists()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/widgets.git/info/refs", 403),
        ("GET", "/widgets.git/info/refs?service=git-upload-archive", 403),
        ("GET", "/widgets.git/info/refs?service=git-upload-pack&x=1", 403),
        ("GET", "/widgets.git/HEAD", 404),
        ("GET", "/widgets.git/config", 404),
        ("GET", "/widgets.git/objects/info/packs", 404),
        ("GET", "/../gated-1a2b3c4d/widgets.git/HEAD", 404),
        ("GET", "/%2e%2e/x.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/hooks/info/refs?service=git-upload-pack", 404),
        ("POST", "/widgets.git/git-upload-archive", 404),
        ("PUT", "/widgets.git/git-receive-pack", 405),
        ("POST", "/widgets.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/", 404),
    ],
)
def test_nothing_else_is_served(gate: Gate, method: str, path: str, status: int) -> None:
    connection = http.client.HTTPConnection(gate.url.removeprefix("http://"), timeout=60)
    connection.request(method, path)
    assert connection.getresponse().status == status
    connection.close()
