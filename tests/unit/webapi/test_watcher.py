"""What changes is told, once, by kind and bottle."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from bb_jupyter.approvals import Queue
from bb_jupyter.backend import state
from bb_jupyter.core import logs
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.process.identity import ProcessIdentity
from bb_jupyter.webapi import watcher as watcher_module
from bb_jupyter.webapi.watcher import Watcher


def record(slug: str) -> state.BottleRecord:
    made = state.BottleRecord(slug, slug.rpartition("-")[0], "bubblewrap", ProcessIdentity.current(), time.time())
    state.claim(made)
    return made


def test_nothing_changes_by_looking() -> None:
    watcher = Watcher()
    assert watcher.changes() == {} == watcher.changes()


def test_bottles_come_change_and_go() -> None:
    watcher = Watcher()
    made = record("demo-0a1b2c3d")
    assert "bottles" in watcher.changes()
    state.add_details(made.slug, state="no gateway")
    assert watcher.changes() == {"bottles": []}
    made.remove()
    assert watcher.changes()["bottles"] == []
    assert watcher.changes() == {}


def test_output_requests_and_questions_are_told_apart() -> None:
    made = record("demo-0a1b2c3d")
    watcher = Watcher()
    log = logs.new_log(made.slug)
    log.write(b"x")
    assert watcher.changes() == {"output": [made.slug]}
    log.write(b"y")
    log.close()
    audit = AuditLog(made.slug)
    audit.append([{"event": "egress"}])
    audit.close()
    assert watcher.changes() == {"output": [made.slug], "egress": [made.slug]}
    Queue(made.slug, "demo").propose("question", {"question": "?", "choices": []})
    assert watcher.changes() == {"approvals": []}
    assert watcher.changes() == {}


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a report of the kernel, no wait ends."""
    monkeypatch.setattr(watcher_module, "TICK", 1000.0)


@pytest.mark.usefixtures("only_events")
def test_each_change_ends_a_wait(home: Path) -> None:
    with Watcher() as watcher:
        told: list[str] = []

        def until(kind: str) -> None:
            while kind not in told:
                watcher.wait()
                told.extend(watcher.changes())
            told.clear()

        def soon(act: object) -> None:
            assert callable(act)
            threading.Timer(0.05, act).start()

        soon(lambda: record("demo-0a1b2c3d"))
        until("bottles")
        queue = Queue("demo-0a1b2c3d", "demo")
        soon(lambda: queue.propose("question", {"question": "?", "choices": []}))
        until("approvals")
        soon(lambda: queue.propose("question", {"question": "!", "choices": []}))
        until("approvals")
        log = logs.new_log("demo-0a1b2c3d")
        soon(lambda: log.write(b"x"))
        until("output")
        soon(lambda: log.write(b"y"))
        until("output")
        soon(lambda: AuditLog("demo-0a1b2c3d").append([{"event": "egress"}]))
        until("egress")
        soon(lambda: state.add_details("demo-0a1b2c3d", state="no gateway"))
        until("bottles")
        log.close()


@pytest.mark.usefixtures("only_events")
def test_output_that_goes_on_does_not_delay_a_question() -> None:
    made = record("demo-0a1b2c3d")
    log = logs.new_log(made.slug)
    ended = threading.Event()

    def chatter() -> None:
        while not ended.wait(0.001):
            log.write(b"x")

    thread = threading.Thread(target=chatter)
    with Watcher() as watcher:
        thread.start()
        for _ in range(3):
            watcher.wait()
            watcher.changes()
        Queue(made.slug, "demo").propose("question", {"question": "?", "choices": []})
        begun, looks = time.monotonic(), 0
        while "approvals" not in watcher.changes():
            watcher.wait()
            looks += 1
        assert looks <= 1
        begun, looks = time.monotonic(), 0
        while time.monotonic() - begun < 4 * watcher_module.INTERVAL:
            watcher.wait()
            looks += bool(watcher.changes())
        assert looks <= 6
    ended.set()
    thread.join()
    log.close()
