"""How long an approval takes to have its effect: from the call in another process to the report of the outcome."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from bb_jupyter import approvals, manifest
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.gateway.control.gateway_client import Event
from tests.bench.measure import Row

#: A bottle may ask 60 times in ten minutes.
_TIMES = 25
#: Seconds that a request waits before it is approved: long enough for its broker to wait for the decision.
_WAITS = 0.3
#: Approves each request that it reads, as the server of the lab panel does; answers with the time at which it began.
_APPROVER = """
import json, sys, time
from bb_jupyter.broker.effects import approve
print(flush=True)
for line in sys.stdin:
    number, options = json.loads(line)
    begun = time.monotonic()
    status = approve(number, **options)
    assert status.outcome and status.outcome.ok, status
    print(begun, flush=True)
"""


def rows(session: Session) -> Iterator[Row]:
    """A host that is in the policy, and a question whose call returns: the broker reports both as it does them."""
    manifest.define_bottle("bench-approve", "supervise: true")
    options = LaunchOptions(backend="bubblewrap", bottle="bench-approve")
    approver = subprocess.Popen(
        [sys.executable, "-c", _APPROVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert approver.stdout is not None
    approver.stdout.readline()
    with approver, session.launch("bench-approve", options) as handle:
        hosts = [{"manifest": {"host": f"h{number}.test"}} for number in range(_TIMES)]
        questions = [{"question": f"number {number}?"} for number in range(_TIMES)]
        for kind, contents, answer in (("egress", hosts, {}), ("question", questions, {"answer": "yes"})):
            samples = _measure(handle, approver, kind, contents, answer)
            yield Row(f"approve → effect: {kind}", "-", "p50 ≤ 50 ms", ours=samples)
        assert approver.stdin is not None
        approver.stdin.close()


def _measure(
    handle: BottleHandle,
    approver: subprocess.Popen[str],
    kind: str,
    contents: list[dict[str, Any]],
    answer: Mapping[str, str],
) -> list[float]:
    """Return milliseconds from the approval to the report of its outcome, one for each request."""
    assert approver.stdin is not None and approver.stdout is not None
    outcomes: queue.Queue[tuple[float, Event]] = queue.Queue()
    handle.bottle.broker.events.append(lambda event: outcomes.put((time.monotonic(), event)))
    asked, samples = approvals.Queue(handle.plan.slug, handle.name), []
    for content in contents:
        number = asked.propose(kind, content).id
        time.sleep(_WAITS)
        approver.stdin.write(json.dumps([number, answer]) + "\n")
        approver.stdin.flush()
        begun = float(approver.stdout.readline())
        while True:
            at, event = outcomes.get(timeout=60)
            if (event["event"], event.get("id")) == ("outcome", number):
                break
        samples.append((at - begun) * 1000)
    return samples
