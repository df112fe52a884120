"""A process asks the owner of a bottle to allow a host."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bb_jupyter.core import owner_requests
from bb_jupyter.core.owner_requests import OwnerRequests, ask_to_allow
from bb_jupyter.errors import BottleError, ManifestError, UsageError
from bb_jupyter.process.identity import ProcessIdentity
from bb_jupyter.process.jsonl import connect, encode, listen, receive_line

ME = ProcessIdentity.current()


class Bottle:
    """Stands for one that this process holds."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.hosts: list[str] = []

    def allow(self, *hosts: str) -> int:
        if hosts == ("bad",):
            raise UsageError("not a host", hint="Write another.")
        if hosts == ("refused",):
            raise ManifestError("the gateway refuses it")
        if hosts == ("broken",):
            raise RuntimeError("with details of ours")
        self.hosts += hosts
        return len(self.hosts)


@pytest.fixture
def bottle() -> Bottle:
    return Bottle("demo-0a1b2c3d")


@pytest.fixture
def owner(bottle: Bottle, home: Path) -> Iterator[OwnerRequests]:
    requests = OwnerRequests(lambda: [bottle])
    requests.start()
    yield requests
    requests.close()


def sockets(home: Path) -> list[Path]:
    return [*(home / "owners").iterdir()]


@pytest.mark.usefixtures("owner")
def test_the_owner_allows_it_and_answers(bottle: Bottle) -> None:
    assert ask_to_allow(ME, bottle.slug, "a.example.org") == 1
    assert ask_to_allow(ME, bottle.slug, "b.example.org") == 2
    assert bottle.hosts == ["a.example.org", "b.example.org"]


@pytest.mark.usefixtures("owner")
def test_a_refusal_comes_in_the_owners_words(bottle: Bottle) -> None:
    with pytest.raises(UsageError, match="not a host"):
        ask_to_allow(ME, bottle.slug, "bad")
    with pytest.raises(BottleError, match="the gateway refuses it"):
        ask_to_allow(ME, bottle.slug, "refused")
    with pytest.raises(BottleError, match="RuntimeError"):
        ask_to_allow(ME, bottle.slug, "broken")


@pytest.mark.usefixtures("owner")
def test_several_sessions_of_one_process_are_told_apart(bottle: Bottle) -> None:
    other = Bottle("other-0a1b2c3d")
    session = OwnerRequests(lambda: [other])
    session.start()
    assert ask_to_allow(ME, other.slug, "a.example.org") == 1
    assert ask_to_allow(ME, bottle.slug, "b.example.org") == 1
    assert (bottle.hosts, other.hosts) == (["b.example.org"], ["a.example.org"])
    session.close()


def test_only_the_user_can_reach_the_socket(owner: OwnerRequests, home: Path) -> None:
    owner.start()
    (path,) = sockets(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_another_user_gets_no_answer(
    owner: OwnerRequests, bottle: Bottle, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = sockets(home)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with connect(path) as connection, pytest.raises(ConnectionError):
        connection.sendall(encode(allow="a.example.org", slug=bottle.slug, until=time.time() + 9))
        receive_line(connection, timeout=9)
    assert bottle.hosts == []


def test_no_owner_listens(bottle: Bottle, home: Path) -> None:
    elsewhere = replace(ME, host="elsewhere")
    for owner in (ME, elsewhere):
        with pytest.raises(BottleError, match="cannot be reached") as error:
            ask_to_allow(owner, bottle.slug, "a.example.org")
        assert str(owner) in error.value.message


@pytest.mark.usefixtures("owner")
def test_a_bottle_that_is_not_held(bottle: Bottle) -> None:
    with pytest.raises(BottleError, match="cannot be reached"):
        ask_to_allow(ME, "gone-0a1b2c3d", "a.example.org")
    assert bottle.hosts == []


def test_a_suspended_owner_answers_too_late_and_does_nothing_then(owner: OwnerRequests, bottle: Bottle) -> None:
    busy = threading.Event()
    allow, bottle.allow = bottle.allow, lambda *_: busy.wait(9)  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(BottleError, match=r"did not answer for 0\.2 s"):
        ask_to_allow(ME, bottle.slug, "first.example.org", patience=0.2)
    with pytest.raises(BottleError, match="did not answer"):
        ask_to_allow(ME, bottle.slug, "late.example.org", patience=0.2)
    bottle.allow = allow  # type: ignore[method-assign]
    busy.set()
    assert ask_to_allow(ME, bottle.slug, "now.example.org") == 1
    assert bottle.hosts == ["now.example.org"]


@pytest.mark.parametrize(
    "request_", [b"", b"x", b"[1]\n", b"{}\n", b'{"until": "x", "slug": "demo-0a1b2c3d"}\n', b"x" * (1 << 17)]
)
def test_nonsense_leaves_the_owner_at_work(owner: OwnerRequests, bottle: Bottle, home: Path, request_: bytes) -> None:
    (path,) = sockets(home)
    with connect(path, 9) as connection:
        try:
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was too long: nobody read to its end
    assert ask_to_allow(ME, bottle.slug, "a.example.org") == 1


def test_nothing_is_left_behind(owner: OwnerRequests, home: Path) -> None:
    owner.close()
    owner.close()
    assert sockets(home) == []


def test_the_sockets_of_killed_processes_are_removed(owner: OwnerRequests, home: Path) -> None:
    (mine,) = sockets(home)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    boot = "ffffffff-0000-0000-0000-000000000000"
    stale = [replace(ME, pid=child.pid, start_time=1), replace(ME, boot_id=boot)]
    foreign = [replace(ME, host="elsewhere", pid=child.pid), replace(ME, pid_namespace=1, pid=child.pid)]
    for identity in (*stale, *foreign):
        listen(mine.parent / f"{owner_requests._stem(identity)}-0a1b2c3d.sock").close()
    other = OwnerRequests(list)
    other.start()
    assert len(sockets(home)) == 2 + len(foreign)
    other.close()
