"""An agent that pushes to do harm: this host's memory, disk and processor stay the host's."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from bb_jupyter.broker.git_gate import git_server
from bb_jupyter.broker.git_gate.secret_scan import Scanner
from tests.integration.git_gate.conftest import SLUG, Clone, Gate, config
from tests.integration.git_gate.upstreams import Upstream, commit, git

_LARGEST = 1 << 20


@pytest.fixture
def gate(gates: Callable[..., Gate], upstream: Upstream) -> Gate:
    return gates(config(upstream, max_push=_LARGEST))


def test_pushes_that_nobody_waits_for_leave_the_disk(
    gate: Gate, clone: Clone, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_server, "_UNTIDY", 1)
    objects = home / "git" / SLUG / "widgets.git" / "objects"
    for _ in range(4):
        (clone.folder / "much").write_bytes(random.randbytes(600 << 10))
        git(clone.folder, "add", ".")
        git(clone.folder, "commit", "-q", "--amend", "--reset-author", "-m", "much")
        clone.push("-f", "origin", "HEAD:refs/heads/one")
    kept = sum(file.stat().st_size for file in objects.rglob("*") if file.is_file())
    assert kept < 2 * _LARGEST, "four pushes were 2.5 MB"
    git(home / "git" / SLUG / "widgets.git", "cat-file", "-e", gate.pending()[0].content["refs"][0]["new"])


@pytest.mark.parametrize(
    "unit", [b"sk-", b"//", b"aws", b"a", b"0", b"xoxb-1-", b"eyJ.", b"https://hooks.slack.com/services/T"]
)
def test_no_text_takes_the_scanner_more_than_its_length(unit: bytes) -> None:
    """A time that grew with the square would be hours here."""
    assert list(Scanner().certain(unit * ((1 << 20) // len(unit)))) is not None


def test_too_many_refs_are_refused_at_once(gate: Gate, clone: Clone) -> None:
    said = clone.refused("origin", *(f"HEAD:refs/heads/b{number}" for number in range(201)))
    assert "more than 200 branches and tags in one push" in said
    assert gate.pending() == []


def test_a_tree_that_repeats_itself_without_end_is_refused(gate: Gate, clone: Clone) -> None:
    blob = git(clone.folder, "hash-object", "-w", "file")
    tree = git(clone.folder, "mktree", input="".join(f"100644 blob {blob}\tf{n}\n" for n in range(10)))
    for width in (10, 10, 10, 25):
        tree = git(clone.folder, "mktree", input="".join(f"040000 tree {tree}\td{n}\n" for n in range(width)))
    sha = git(clone.folder, "commit-tree", "-p", "HEAD", "-m", "bomb", tree)
    assert "changes in one push" in clone.refused("origin", f"{sha}:refs/heads/bomb")


def _varint(number: int) -> bytes:
    high, low = divmod(number, 128)
    return bytes([low | 128]) + _varint(high) if high else bytes([low])


def _entry(kind: int, size: int, data: bytes, base: bytes = b"") -> bytes:
    """Return an object of a pack; see gitformat-pack(5)."""
    high, low = divmod(size, 16)
    head = bytes([kind << 4 | low | 128]) + _varint(high) if high else bytes([kind << 4 | low])
    return head + base + zlib.compress(data)


def test_a_small_pack_that_unpacks_to_gigabytes_takes_no_memory(gate: Gate, clone: Clone) -> None:
    """One kilobyte, of which git by itself would make two gigabytes in memory."""
    base, times = bytes(1 << 20), 2000
    copy = b"\xc0\x10"  # 2**20 bytes from the beginning of the base
    delta = _varint(len(base)) + _varint(times << 20) + copy * times
    name = sha1(b"blob %d\0" % len(base) + base).digest()
    pack = b"PACK" + struct.pack(">II", 2, 2) + _entry(3, len(base), base) + _entry(7, len(delta), delta, name)
    head = git(clone.folder, "rev-parse", "HEAD")
    line = f"{'0' * 40} {head} refs/heads/x\0 report-status".encode()
    body = b"%04x" % (len(line) + 4) + line + b"0000" + pack + sha1(pack).digest()
    headers = {"Content-Type": "application/x-git-receive-pack-request"}
    with urlopen(Request(f"{gate.url}/widgets.git/git-receive-pack", body, headers), timeout=120) as answer:
        assert b"unpack index-pack abnormal exit" in answer.read()
    assert gate.pending() == []
    commit(clone.folder)
    clone.push()
