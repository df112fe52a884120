"""Every error bb_jupyter raises on purpose, under one root.

Each message is one or two lines: what is wrong, where, and what to do.  A traceback of ours in a cell
is a bug; the magics show these errors without one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class BottleError(Exception):
    """Root of every error that bb_jupyter raises on purpose.

    Args:
        message: what is wrong and where, in one line.
        hint: what to do about it, shown on a line of its own; empty for none.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class ManifestError(BottleError):
    """A manifest cannot be used: where, which key, and what would be right.

    Args:
        message: what is wrong, without the location.
        path: the file, or a label such as ``<cell>`` for a manifest defined in a notebook.
        line: 1-based line in that file, or ``None`` when the whole file is meant.
        key: dotted path of the key, such as ``egress.routes[0].host``.
        hint: what would be right.
    """

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        key: str = "",
        hint: str = "",
    ) -> None:
        place = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__(": ".join(part for part in (place, key, message) if part), hint=hint)
        self.path, self.line, self.key, self._what = path, line, key, message

    def at(self, path: Path | str, line: int) -> ManifestError:
        """Return the same error for a place that is known by now."""
        return ManifestError(self._what, path=path, line=line, key=self.key, hint=self.hint)


class UsageError(BottleError):
    """An argument is wrong: a name, an option, a value, a path the user gave."""


class BackendUnavailable(BottleError):
    """A backend cannot work on this host; the hint is the command or setting that mends it."""


class BottleGone(BottleError):
    """The bottle died or was stopped elsewhere; nothing more can run in it."""


class NameTaken(BottleError):
    """A live bottle of this user has the name already; the message says who owns it."""


class BuildFailed(BottleError):
    """An image build failed; the message ends in the last lines of its log."""


class PolicyDenied(BottleError):
    """The gateway's policy forbids what was asked; the message names the rule."""


class UnknownProposal(UsageError):
    """There is no proposal of that number in the approval queue."""


class AlreadyDecided(UsageError):
    """A proposal was decided before, or its time is over."""


class TokenMismatch(UsageError):
    """A decision names another content than the proposal has: what was shown is not what would be decided."""


class Flood(BottleError):
    """A bottle asks its human for too much; the hint says when it may ask again."""


class PromiseBroken(BottleError):
    """A self-test got through a wall of the bottle; the message says which."""


class CommandFailed(BottleError):
    """A cell's body ended with a non-zero exit status (or its time limit); `returncode` holds it."""

    def __init__(self, message: str, *, returncode: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name the nearest known word, or list them all when none is near.

    Args:
        word: what the user typed.
        known: what would have been right.

    Returns:
        A hint such as ``Did you mean 'stop'?`` or ``Known: a, b, c.``; empty when *known* is empty.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(choices)}." if choices else ""
