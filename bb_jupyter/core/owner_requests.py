"""What another process of the user asks of the kernel that holds a bottle: to let it reach one more host.

The lab panel works while kernels are busy or unknown to it.  It leaves a request in the bottle's state directory,
`errands/<token>.json`; a thread of the owner does it and leaves `errands/<token>.answer.json`.  Only the user writes
there.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.home import bot_bottle_home

#: Seconds that the asker waits, and after which the owner does not do it any more: nobody expects it then.
PATIENCE = 10.0
_INTERVAL = 0.25
_ANSWER = ".answer.json"


class Held(Protocol):
    """A bottle that a process holds, as far as this module needs it."""

    @property
    def slug(self) -> str:
        """Its identity."""

    def allow(self, *hosts: str) -> int:
        """Let it reach more hosts; returns the policy's generation."""


def ask_to_allow(slug: str, host: str, *, patience: float = PATIENCE) -> int:
    """Let the owner of a bottle allow a host, and wait until it did.

    Args:
        slug: the bottle's.
        host: `HOST` or `HOST:PORT`.
        patience: seconds to wait.

    Returns:
        The policy's generation.

    Raises:
        UsageError: that is no host, or there is no such bottle.
        BottleError: the owner refused, or did not answer in time.
    """
    folder, token = _folder(slug), secrets.token_hex(8)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        raise UsageError("this bottle does not run any more") from None
    request, reply = folder / f"{token}.json", folder / f"{token}{_ANSWER}"
    _write(request, {"allow": host, "until": time.time() + patience})
    try:
        answer = _wait(reply, patience)
    finally:
        request.unlink(missing_ok=True)
        reply.unlink(missing_ok=True)
    if "generation" in answer:
        return int(answer["generation"])
    kind = UsageError if answer.get("usage") else BottleError
    raise kind(str(answer.get("error")), hint=str(answer.get("hint", "")))


class OwnerRequests:
    """Does what is asked, on a thread that starts with the first bottle.

    Args:
        held: returns the bottles of this process.
    """

    def __init__(self, handle: Callable[[], Iterable[Held]]) -> None:
        self._handles = handle
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See to it that somebody listens.  Idempotent."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._listen, name="bottle errands", daemon=True)
                self._thread.start()

    def _listen(self) -> None:
        while True:
            for bottle in self._handles():
                for request in _requests(bottle.slug):
                    _do(bottle, request)
            time.sleep(_INTERVAL)


def _do(bottle: Held, request: Path) -> None:
    asked = _read(request)
    request.unlink(missing_ok=True)
    if not asked or asked.get("until", 0) < time.time():
        return
    try:
        answer: dict[str, Any] = {"generation": bottle.allow(str(asked.get("allow", "")))}
    except BottleError as error:
        answer = {"error": error.message, "hint": error.hint, "usage": isinstance(error, UsageError)}
    except Exception as error:  # whatever it is, who asked shall know
        answer = {"error": f"the kernel could not do it: {type(error).__name__}"}
    try:
        _write(request.with_name(request.name.removesuffix(".json") + _ANSWER), answer)
    except OSError:
        return  # the bottle has ended with its folder


def _requests(slug: str) -> list[Path]:
    try:
        return [path for path in _folder(slug).iterdir() if path.suffix == ".json" and not path.name.endswith(_ANSWER)]
    except OSError:
        return []


def _folder(slug: str) -> Path:
    return bot_bottle_home() / "state" / slug / "errands"


def _wait(reply: Path, patience: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience
    while (answer := _read(reply)) is None:
        if time.monotonic() > deadline:
            raise BottleError(
                f"the kernel that holds this bottle did not answer for {patience:.0f} s",
                hint="Nothing was allowed. Is the kernel suspended, or on another machine?",
            )
        time.sleep(0.05)
    return answer


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, value: dict[str, Any]) -> None:
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(json.dumps(value))
    scratch.replace(path)
