"""The errors that bb_jupyter raises on purpose, under one root.

Each message has one or two lines: what is wrong, where, and what to do.  The magics show these errors without a
traceback; a traceback of bb_jupyter in a cell is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class BottleError(Exception):
    """Root of every error that bb_jupyter raises on purpose.

    Args:
        message: what is wrong and where, on one line.
        hint: what to do, on a line of its own; empty for none.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class ManifestError(BottleError):
    """A manifest is wrong; the message has the place, the key and the correction.

    Args:
        message: what is wrong, without the location.
        path: the file, or a label such as ``<cell>`` for a manifest defined in a notebook.
        line: 1-based line in that file, or ``None`` for the whole file.
        key: dotted path of the key, such as ``egress.routes[0].host``.
        hint: what is allowed instead.
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
        """Return the same error with its place, which the raising code did not know."""
        return ManifestError(self._what, path=path, line=line, key=self.key, hint=self.hint)


class UsageError(BottleError):
    """An argument of the user is wrong: a name, an option, a value or a path."""


class BackendUnavailable(BottleError):
    """A backend does not work on this host; the hint is the command or setting that fixes it."""


class BottleGone(BottleError):
    """The bottle died or was stopped elsewhere; nothing can run in it any more."""


class NameTaken(BottleError):
    """A running bottle of this user already has the name; the message names its owner."""


class BuildFailed(BottleError):
    """The build of an image failed; the message ends with the last lines of the log."""


class PolicyDenied(BottleError):
    """The policy of the gateway denies a request; the message names the rule."""


class UnknownProposal(UsageError):
    """The approval queue has no proposal with that number."""


class AlreadyDecided(UsageError):
    """The proposal was decided earlier, or its time has expired."""


class TokenMismatch(UsageError):
    """The token of a decision is not that of the proposal: the human saw another content."""


class Flood(BottleError):
    """A bottle has sent too many requests; the hint says when it may send the next one."""


class PromiseBroken(BottleError):
    """A self-test broke through a wall of the bottle; the message names the wall."""


class CommandFailed(BottleError):
    """The body of a cell ended with a non-zero exit status, in `returncode`, or at its time limit."""

    def __init__(self, message: str, *, returncode: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with the nearest known word, or with all known words if none is near.

    Args:
        word: the word that the user typed.
        known: the words that are allowed.

    Returns:
        A hint such as ``Did you mean 'stop'?`` or ``Known: a, b, c.``; empty when *known* is empty.
    """
    from difflib import get_close_matches  # late: `%load_ext` imports this module

    choices = sorted(known)
    near = get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(choices)}." if choices else ""
