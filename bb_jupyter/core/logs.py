"""The logs of cells: the whole output of each run in `logs/<slug>/0001.log`, kept after the bottle is gone."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bb_jupyter.home import bot_bottle_home, private_dir

#: Most bytes in the log of one cell run: an agent that prints for ever must not fill the host's disk.
MAX_LOG = 4 << 30
#: Days after a bottle's last output until `prune` removes its logs.
KEEP_DAYS = 14

_lock = threading.Lock()
_issued: dict[str, int] = {}


@dataclass
class CellLog:
    """The log of one cell run.

    Attributes:
        path: the file; the first byte creates it.
        written: bytes in the file.
        full: output is missing because the log reached `MAX_LOG` or the disk is full.
    """

    path: Path
    written: int = 0
    full: bool = False
    _file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """Append *data*."""
        if self.full:
            return
        try:
            if self._file is None:
                private_dir(self.path.parent)
                self._file = self.path.open("wb")
            self.full = self.written + len(data) > MAX_LOG
            if not self.full:
                self._file.write(data)
                self._file.flush()  # `%bottle logs` may read the file while the command runs
                self.written += len(data)
        except OSError:
            self.full = True

    def close(self) -> None:
        """Flush and close the file.  Idempotent."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self.full = True
            self._file = None


def new_log(slug: str) -> CellLog:
    """Return the log for the next cell run of the bottle *slug*; concurrent runs have one each."""
    with _lock:
        _issued[slug] = max(_issued.get(slug, 0), len(logs_of(slug))) + 1
        return CellLog(_folder(slug) / f"{_issued[slug]:04d}.log")


def logs_of(slug: str) -> list[Path]:
    """Return the logs of the bottle *slug*, oldest first."""
    return sorted(_folder(slug).glob("[0-9]*.log"))


def slugs_of(name: str) -> list[str]:
    """Return the slugs of all bottles named *name* that have logs, the newest last."""
    folders = (bot_bottle_home() / "logs").glob(f"{name}-" + "[0-9a-f]" * 8)
    return [folder.name for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime)]


def prune(alive: set[str]) -> None:
    """Remove logs without new output for `KEEP_DAYS` days.

    Args:
        alive: slugs of live bottles, whose logs stay whatever their age.
    """
    oldest = time.time() - KEEP_DAYS * 86_400
    for folder in (bot_bottle_home() / "logs").glob("*"):
        if folder.name not in alive and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(slug: str) -> Path:
    return bot_bottle_home() / "logs" / slug
