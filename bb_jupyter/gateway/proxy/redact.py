"""Masks credentials that a server reflects, in every common encoding, also across chunk borders.

A mask is as long as the text that it hides, so that `Content-Length` and offsets stay correct.
"""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

_SHORTEST_DERIVED: Final = 8
_SHORTEST_CORE: Final = 6
#: Bytes of a beginning that are compared before all of it is, which can be thousands.
_HEAD: Final = 4
# How templates, serialisers and loggers write what is neither letter nor digit: all of it, or certain characters
# (Mustache, Underscore, Handlebars, .NET, quoted-printable).
_ESCAPES: Final = (
    *((r"[^0-9A-Za-z]", escape) for escape in ("%{:02X}", "%{:02x}", "%25{:02X}", "\\x{:02x}", "\\x{:02X}")),
    *((r"[^0-9A-Za-z]", escape) for escape in ("\\u{:04x}", "\\u{:04X}", "&#{};", "&#x{:x};", "&#x{:X};")),
    *((characters, "&#x{:X};") for characters in ("[/=]", "/", "=", r"\+")),
    (r"\+", "\\u{:04X}"),
    ("=", "={:02X}"),
)


def _base64_forms(secret: bytes) -> Iterable[bytes]:
    """Yield what is the same in every base64 text that holds the secret, at each of its three alignments."""
    for before in range(3):
        padded = b"\0" * before + secret
        # Characters of 6 bits that no neighbouring byte has a share in.
        stable = base64.b64encode(padded)[-(-8 * before // 6) : 8 * len(padded) // 6]
        yield from (stable, stable.translate(bytes.maketrans(b"+/", b"-_")))


def _escaped(secret: str) -> Iterable[str]:
    """Yield the secret as texts hold it that quote it in their own syntax."""
    for characters, escape in _ESCAPES:
        yield "".join(escape.format(ord(one)) if re.match(characters, one) else one for one in secret)
    for text in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield from (text, re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text), text.replace("%", "%25"))
    quoted = json.dumps(secret)[1:-1]
    yield from (quoted, quoted.replace("/", "\\/"), html.escape(secret), secret.lower(), secret.upper())


def _forms(secret: str) -> set[bytes]:
    """Return the byte strings that reveal a secret."""
    raw = secret.encode()
    derived = {text.encode() for text in _escaped(secret)} | {*_base64_forms(raw)}
    derived |= {raw.hex().encode(), raw.hex().upper().encode()}
    # A client can ask for a charset.  Without its last bytes, either order of UTF-16 and of UTF-32 holds the text.
    derived |= {secret.encode("utf-16-le")[:-1], secret.encode("utf-32-le")[:-3], secret.encode("cp037", "ignore")}
    return {raw} | {form for form in derived if len(form) >= _SHORTEST_DERIVED}


def _needles(secret: str, forms: set[bytes]) -> set[bytes]:
    """Return the fewest byte strings without which none of the forms is there: most hold the secret's longest word."""
    core = max(re.findall("[0-9A-Za-z]+", secret), key=len, default="").encode()
    return {core if len(core) >= _SHORTEST_CORE and core in form else form for form in forms}


class Masker:
    """Finds and masks a fixed set of secrets.

    Args:
        secrets: the values to hide; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        of_each = {secret: _forms(secret) for secret in secrets if secret}
        forms: set[bytes] = set().union(*of_each.values())
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, ordered))) if ordered else None
        self._needles = tuple(set().union(*(_needles(*each) for each in of_each.items())))
        self._sorted = sorted(forms)
        firsts = b"|".join(sorted({re.escape(form[:1]) for form in forms}))
        self._first = re.compile(firsts or b"(?!)")
        self._shortest = min((len(form) for form in forms), default=0)
        self._longest = max((len(form) for form in forms), default=0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'active' if self._pattern else 'empty'})"

    def finds(self, data: bytes) -> bool:
        """Say whether a secret is in *data*; the needles, searched first, make it ten times as fast."""
        if self._pattern is None or len(data) < self._shortest:
            return False
        for needle in self._needles:
            if needle in data:
                return self._pattern.search(data) is not None
        return False

    def position(self, data: bytes) -> int:
        """Return where the first secret in *data* begins; -1 for none."""
        match = self._pattern.search(data) if self._pattern and self.finds(data) else None
        return match.start() if match else -1

    def mask(self, data: bytes) -> bytes:
        """Return *data*, of the same length, with every secret in it replaced by asterisks."""
        if self._pattern is None or not self.finds(data):
            return data
        return self._pattern.sub(lambda m: b"*" * len(m[0]), data)

    def mask_text(self, text: str) -> str:
        """Do the same to text, such as a header's value."""
        if self._pattern is None:
            return text
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def held_back(self, data: bytes) -> int:
        """Return how many bytes at the end of *data* may be the beginning of a secret; 0 for most chunks."""
        for first in self._first.finditer(data, max(0, len(data) - self._longest + 1)):
            at = first.start()
            if self._begins(data[at : at + _HEAD]) and self._begins(data[at:]):
                return len(data) - at
        return 0

    def _begins(self, data: bytes) -> bool:
        """Say whether a secret begins with *data*; a table of all beginnings takes the square of a token's length."""
        at = bisect_left(self._sorted, data)
        return at < len(self._sorted) and self._sorted[at].startswith(data)


class MaskedStream:
    """Masks a body chunk by chunk; passes each chunk on at once, but for an end that may begin a secret."""

    def __init__(self, masker: Masker) -> None:
        self._masker, self._rest = masker, b""

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return what can be passed on now."""
        data = self._masker.mask(self._rest + chunk)
        keep = self._masker.held_back(data)
        self._rest = data[len(data) - keep :]
        return data[: len(data) - keep]

    def finish(self) -> bytes:
        """Return what was held back, at the end of the body."""
        rest, self._rest = self._rest, b""
        return rest
