"""`python -m tests.bench [PART…]`: print how fast it is, as ratios measured in one run; the raw numbers go to a file.

Parts: load, launch, exec, list, stop, output, egress, approve, panel, experiment.  Nothing here passes or fails.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bb_jupyter.core.session import Session
from tests.bench import approving, egress, experiment, launching, output, panel
from tests.bench.measure import Row
from tests.leftovers import Engine

PARTS = ("load", "launch", "exec", "list", "stop", "output", "egress", "approve", "panel", "experiment")
_RESULT = Path(".cache/bench.json")


def main(wanted: list[str]) -> None:
    """Measure and print the wanted parts."""
    if unknown := set(wanted) - {*PARTS}:
        sys.exit(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    results = []
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as home:
        os.environ["BOT_BOTTLE_HOME"] = home
        for row in _rows(wanted or list(PARTS)):
            print(row, flush=True)
            results.append(row.to_json())
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps(results, indent=1))
    print(f"raw numbers: {_RESULT}")


def _rows(parts: list[str]) -> Iterator[Row]:
    engine, session = _engine(), Session()
    for part in parts:
        if part == "load":
            yield launching.load_ext()
        elif part == "launch":
            yield launching.bubblewrap_launch(session)
            if engine:
                yield launching.docker_launch(session, engine)
                yield from launching.docker_launches_with_gateway(session, engine)
        elif part == "exec" and engine:
            yield from launching.exec_round_trip(session, engine)
        elif part == "list" and engine:
            yield from launching.listing(session, engine)
        elif part == "stop" and engine:
            yield launching.stopping(session, engine)
        elif part == "output":
            yield from output.into_a_cell(engine)
        elif part == "approve":
            yield from approving.rows(session)
        elif part == "panel":
            yield from panel.seen()
        elif part == "experiment":
            yield from experiment.rows(engine)
        elif part == "egress":
            yield from egress.rows(session)


def _engine() -> Engine | None:
    keys = ("DOCKER_HOST", "BB_TEST_BASE_IMAGE", "BB_TEST_BUSYBOX_IMAGE")
    if any(key not in os.environ for key in keys):
        print("no Docker engine: the rows that need one are left out")
        return None
    return Engine(*(os.environ[key] for key in keys))


if __name__ == "__main__":
    main(sys.argv[1:])
