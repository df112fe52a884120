"""What changes is told, once, by kind and bottle."""

from __future__ import annotations

import time

from bb_jupyter.approvals import Queue
from bb_jupyter.backend import state
from bb_jupyter.core import logs
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.process.identity import ProcessIdentity
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
