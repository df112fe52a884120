"""The store of an experiment: an index in SQLite, and a folder of files for each run.

    experiments/NAME/
      index.sqlite      the definition, and a row for each run
      inputs/           packed workspaces and hidden tests, named by their SHA-256
      runs/0017/        events.jsonl  workspace.diff  check.txt  egress.jsonl  output.log

Threads, processes and kernels on one host may write at the same time: SQLite is in WAL mode
(https://sqlite.org/wal.html), and each step opens a connection, so that no connection is shared.  A step is one
transaction, and survives a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.definition import RunSpec
from bb_jupyter.experiment.record import RunOutcome
from bb_jupyter.home import private_dir
from bb_jupyter.process.identity import ProcessIdentity

_INDEX = "index.sqlite"
_SCHEMA = (
    "CREATE TABLE experiment (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE runs (
  id TEXT PRIMARY KEY, position INTEGER NOT NULL, agent TEXT, prompt TEXT, bottle TEXT, repeat INTEGER, seed INTEGER,
  parameters TEXT, rerun_of TEXT DEFAULT '', state TEXT DEFAULT 'waiting', counted INTEGER DEFAULT 0, owner TEXT,
  attempt TEXT DEFAULT '', attempts INTEGER DEFAULT 0, started REAL, finished REAL, outcome TEXT,
  wasted TEXT DEFAULT '[]')""",
    "CREATE INDEX by_state ON runs (state, position)",
    # A covering index for `states`, because the rows themselves are long.
    "CREATE INDEX grid ON runs (rerun_of, id, state)",
)
_CLAIM = """
UPDATE runs SET owner=:owner WHERE id = (
  SELECT id FROM runs WHERE state='waiting' AND owner IS NULL AND rerun_of='' ORDER BY position LIMIT 1
) RETURNING id, position, agent, prompt, bottle, repeat, seed, parameters
"""


class Store:
    """The records of one experiment.  Safe for threads and processes of one host.

    Args:
        folder: the experiment's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether an experiment was begun in the folder."""
        if not (self.folder / _INDEX).is_file():
            return False
        with self._connected() as db:
            return bool(db.execute("SELECT count(*) FROM sqlite_master WHERE name='grid'").fetchone()[0])

    def create(self, facts: Mapping[str, object], runs: Iterable[RunSpec]) -> None:
        """Begin an experiment; do nothing if another process has begun it already.

        Args:
            facts: facts about the whole experiment: plain JSON values.
            runs: the runs.
        """
        private_dir(self.folder)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.exists:
                return
            with self._connected() as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    db.execute(statement)
                values = [(key, json.dumps(value)) for key, value in facts.items()]
                db.executemany("INSERT INTO experiment VALUES (?, ?)", values)
                db.executemany(*_insert(runs))
                db.execute("COMMIT")

    def add(self, spec: RunSpec, *, rerun_of: str, owner: str) -> None:
        """Add a run outside the grid, claimed by *owner*."""
        statement, rows = _insert([spec])
        with self._connected() as db, db:
            db.executemany(statement, rows)
            db.execute("UPDATE runs SET rerun_of=?, owner=? WHERE id=?", (rerun_of, owner, spec.id))

    def facts(self) -> dict[str, Any]:
        """Return the facts about the whole experiment.

        Raises:
            UsageError: there is no experiment.
        """
        if not self.exists:
            raise UsageError(f"no experiment is called '{self.folder.name}'", hint=f"They lie in {self.folder.parent}.")
        return {key: json.loads(value) for key, value in self._all("SELECT key, value FROM experiment")}

    def rows(self, *ids: str, results: bool = False) -> list[dict[str, Any]]:
        """Return the rows of the runs *ids*, of all results, or of all runs, sorted by id; every row is small."""
        wanted = f"WHERE id IN ({','.join('?' * len(ids))})" if ids else "WHERE counted=1" if results else ""
        with self._connected() as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(f"SELECT * FROM runs {wanted} ORDER BY id", ids)]  # noqa: S608

    def states(self) -> dict[str, str]:
        """Return the state of each run of the grid, by id."""
        return dict(self._all("SELECT id, state FROM runs WHERE rerun_of='' ORDER BY id"))

    def reset(self) -> bool:
        """Set every run without a result to waiting, unless a live process works on it.

        Returns:
            Whether a dead process had claimed runs.
        """
        with self._connected() as db, db:
            db.execute("BEGIN IMMEDIATE")
            owners = [row[0] for row in db.execute("SELECT DISTINCT owner FROM runs WHERE owner IS NOT NULL")]
            dead = [(owner,) for owner in owners if not _lives(owner)]
            db.executemany("UPDATE runs SET owner=NULL WHERE owner=?", dead)
            db.execute("UPDATE runs SET state='waiting' WHERE counted=0 AND owner IS NULL AND rerun_of=''")
        return bool(dead)

    @property
    def complete(self) -> bool:
        """Whether the experiment was begun, and every run of it has a result."""
        return self.exists and not self._all("SELECT 1 FROM runs WHERE counted=0 AND rerun_of='' LIMIT 1")

    @property
    def fruitless(self) -> bool:
        """Whether no run has a result, and no live process works on one."""
        owners = self._all("SELECT DISTINCT owner FROM runs WHERE owner IS NOT NULL OR counted=1")
        return all(owner and not _lives(owner) for (owner,) in owners)

    def free(self, owner: str) -> None:
        """Let go of what *owner* claimed and did not begin."""
        with self._connected() as db, db:
            db.execute("UPDATE runs SET owner=NULL WHERE owner=?", (owner,))

    def claim(self, owner: str) -> RunSpec | None:
        """Take the next run that nobody has; `None` when there is none."""
        with self._connected() as db, db:
            row = db.execute(_CLAIM, {"owner": owner}).fetchone()
        if row is None:
            return None
        run, position, agent, prompt, bottle, repeat, seed, parameters = row
        return RunSpec(run, position, agent, prompt, bottle, repeat, seed, json.loads(parameters))

    def unclaim(self, run: str) -> None:
        """Give back a run that did not begin."""
        with self._connected() as db, db:
            db.execute("UPDATE runs SET owner=NULL WHERE id=? AND state='waiting'", (run,))

    def begin(self, run: str, attempt: str, *, again: bool = True) -> Path:
        """Note that a run begins, for the first time or anew after its worker was lost.

        Args:
            run: its id.
            attempt: names this attempt.
            again: whether to do so when this very attempt has begun already.

        Returns:
            Its folder, without what an earlier attempt left there.
        """
        folder = private_dir(self.run_folder(run))
        if not again and self._all("SELECT attempt FROM runs WHERE id=?", run) == [(attempt,)]:
            return folder
        for path in folder.iterdir():
            path.unlink()
        with self._connected() as db, db:
            # What an attempt without a result has used stays used.
            db.execute(
                "UPDATE runs SET wasted=json_insert(wasted, '$[#]', json(outcome)) WHERE id=? AND outcome IS NOT NULL"
                " AND counted=0",
                (run,),
            )
            db.execute(
                "UPDATE runs SET state='running', attempt=?, attempts=attempts+1, started=?,"
                " finished=NULL, outcome=NULL WHERE id=? AND counted=0",
                (attempt, time.time(), run),
            )
        return folder

    def finish(self, run: str, attempt: str, outcome: RunOutcome) -> bool:
        """Record the outcome of a run.

        Returns:
            Whether it was recorded; not for a lost attempt, nor for a run that has a result already.
        """
        with self._connected() as db, db:
            db.execute("PRAGMA synchronous=FULL")
            done = db.execute(
                "UPDATE runs SET state=?, counted=?, finished=?, owner=NULL, outcome=?"
                " WHERE id=? AND attempt=? AND counted=0",
                (outcome.state, outcome.counted, time.time(), _json(outcome), run, attempt),
            )
            return done.rowcount == 1

    def lose(self, run: str, reason: str) -> None:
        """Record that a run was lost, such as by the death of its worker; this is no result."""
        outcome = _json(RunOutcome.lost(reason))
        with self._connected() as db, db:
            change = "UPDATE runs SET state='stopped', finished=?, owner=NULL, outcome=? WHERE id=? AND counted=0"
            db.execute(change, (time.time(), outcome, run))

    def outcomes(self) -> Iterator[RunOutcome]:
        """Yield the outcomes of all attempts, also of those without a result."""
        for outcome, wasted in self._all("SELECT outcome, wasted FROM runs"):
            for data in [*json.loads(wasted), *([json.loads(outcome)] if outcome else [])]:
                yield RunOutcome.from_dict(data)

    def run_folder(self, run: str) -> Path:
        """Return the folder of a run's files."""
        return self.folder / "runs" / run

    @property
    def inputs(self) -> Path:
        """Folder of the packed workspaces and hidden tests."""
        return private_dir(self.folder / "inputs")

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._connected() as db:
            return db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep one connection open: SQLite checkpoints whenever the last connection closes, which takes time."""
        with self._connected() as db:
            db.execute("SELECT count(*) FROM experiment").fetchone()
            yield

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.folder / _INDEX, timeout=60, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous=NORMAL")
            yield db
        finally:
            db.close()


def new_owner(nonce: str) -> str:
    """Return an owner for claims of this process; other processes can see from it when this one is dead."""
    return json.dumps({**ProcessIdentity.current().to_dict(), "nonce": nonce})


def _json(outcome: RunOutcome) -> str:
    return json.dumps(vars(outcome))  # the values are plain; `dataclasses.asdict` would copy them


def _lives(owner: str) -> bool:
    try:
        return ProcessIdentity.from_dict(json.loads(owner)).alive
    except ValueError:
        return False


def _insert(runs: Iterable[RunSpec]) -> tuple[str, list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = [
        (s.id, s.position, s.agent, s.prompt, s.bottle, s.repeat, s.seed, json.dumps(dict(s.parameters))) for s in runs
    ]
    columns = "id, position, agent, prompt, bottle, repeat, seed, parameters"
    return f"INSERT OR IGNORE INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows  # noqa: S608
