"""Request paths: each has one reading or is ambiguous, so that the path matched is the path that the server serves."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x7e]*\Z")
# Most paths: nothing to decode, and no segment that begins with a dot.
_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?\Z")
# As a pattern it would be decoded into a wildcard.
_ESCAPED_STAR: Final = re.compile("%2a", re.IGNORECASE)
_DOT_SEGMENT: Final = re.compile(r"/(?:\.|%2e){1,2}(?:[/;]|\Z)", re.IGNORECASE)
_GIT_SERVICES: Final = ("git-upload-pack", "git-receive-pack")


def split_target(target: str) -> tuple[str, str]:
    """Split an origin-form request target into its raw path and query; ``("", "")`` if it is no such target."""
    if not _TARGET.match(target):
        return "", ""
    path, _, query = target.partition("?")
    return path, query


def canonical_path(raw: str) -> str | None:
    """Decode a raw path whose meaning no two servers can disagree on.

    Ambiguous are: empty and dot segments (also as ``..;x``), backslashes, encoded slashes, backslashes, percent signs
    and control characters, broken escapes and bytes that are not UTF-8.

    Args:
        raw: the path as sent, beginning with ``/``.

    Returns:
        The path with its escapes decoded, or ``None`` when it is ambiguous.
    """
    if _PLAIN.match(raw):
        return raw
    if not raw.startswith("/") or "\\" in raw or _BAD_ESCAPE.search(raw):
        return None
    segments = [unquote_to_bytes(segment) for segment in raw[1:].split("/")]
    if any(not segment for segment in segments[:-1]):
        return None
    for segment in segments:
        if segment.split(b";")[0] in (b".", b"..") or any(c < 0x20 or c in b"/\\%\x7f" for c in segment):
            return None
    try:
        return "/" + b"/".join(segments).decode("utf-8")
    except UnicodeDecodeError:
        return None


def canonical_path_pattern(raw: str) -> str:
    """Return a route's path pattern in the form of the canonical paths that it is compared with.

    Raises:
        ValueError: it is no path, or an ambiguous one; the message continues a sentence that begins with *raw*.
    """
    if not raw.startswith("/"):
        raise ValueError("must begin with '/'")
    if not _TARGET.match(raw) or "\\" in raw or "?" in raw:
        raise ValueError("is not a path: a path has no space, '\\', '?' or '#', and other scripts are percent-encoded")
    if _DOT_SEGMENT.search(raw):
        raise ValueError("can be read in more than one way: '.' and '..' are not allowed")
    path = canonical_path(raw)
    if path is None or _ESCAPED_STAR.search(raw):
        raise ValueError(
            "can be read in more than one way: no '//', no escaped '/', '\\', '%', '*' or control, no other encoding"
        )
    return path


class _Glob:
    """A glob: ``*`` stays within one segment, ``**`` crosses them.

    A set of places in the pattern, kept as bits, moves along the path (Baeza-Yates and Gonnet, "A new approach to text
    searching", 1992), so that no path takes longer than its length; a regular expression can take for ever.
    """

    def __init__(self, pattern: str) -> None:
        pieces = [piece for piece in re.split(r"(\*\*+|\*)|(?<=.)(?=.)", pattern, flags=re.DOTALL) if piece]
        self._literals: dict[str, int] = {}
        self._within = self._across = 0
        for place, piece in enumerate(pieces):
            if piece == "*":
                self._within |= 1 << place
            elif piece[0] == "*":
                self._across |= 1 << place
            else:
                self._literals[piece] = self._literals.get(piece, 0) | 1 << place
        self._end = 1 << len(pieces)

    def _skipped(self, places: int) -> int:
        """Add the places behind a wildcard that matches nothing; two of them may follow each other."""
        wild = self._within | self._across
        while more := (places & wild) << 1 & ~places:
            places |= more
        return places

    def matches(self, path: str) -> bool:
        """Say whether it covers all of *path*."""
        places = self._skipped(1)
        for character in path:
            stays = self._across if character == "/" else self._across | self._within
            places = self._skipped((places & self._literals.get(character, 0)) << 1 | places & stays)
            if not places:
                return False
        return bool(places & self._end)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> _Glob:
    return _Glob(pattern)


def path_matches(pattern: str, path: str) -> bool:
    """Say whether a canonical path is under a route's pattern.

    A pattern with ``*`` is a glob over the whole path (``*`` within a segment, ``**`` across); any other is a prefix
    that ends at a segment border: ``/api`` covers ``/api`` and ``/api/x``, not ``/apix``.
    """
    if "*" in pattern:
        return _glob(pattern).matches(path)
    return path == pattern or path.startswith(pattern if pattern.endswith("/") else pattern + "/")


def is_git(raw_path: str, query: str, content_type: str) -> bool:
    """Recognise git's smart HTTP (gitprotocol-http(5)) in any spelling a lenient server might accept."""
    path = raw_path
    for _ in range(3):
        path = unquote(path, errors="replace") if "%" in path else path
    path = path.lower()
    last: list[str] = []
    if "git-" in path or "refs" in path:  # else it ends in none of these
        segments = [segment.partition(";")[0] for segment in re.split(r"[/\\]+", path)]
        last = [segment for segment in segments if segment not in ("", ".")][-2:]
    if last[-1:] and last[-1] in _GIT_SERVICES:
        return True
    if content_type.lower().startswith(("application/x-git-upload", "application/x-git-receive")):
        return True
    if last != ["info", "refs"]:
        return False
    services = [value.lower() for key, value in parse_qsl(query) if key.lower() == "service"]
    return any(value in _GIT_SERVICES for value in services)
