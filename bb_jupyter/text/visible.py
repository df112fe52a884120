"""Text from a bottle, made honest: colours pass, every other control or invisible character is shown as what it is.

Output is hostile text.  It must not move the cursor, set a title, write a link, or hide and reorder what a person reads
(terminal escapes: ECMA-48; bidi controls: CVE-2021-42574; tag characters and other invisible code points: UTR #36).
"""

from __future__ import annotations

import re
from typing import Final

_INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
#: One search of this is all that clean text costs.
_SUSPECT: Final = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_INVISIBLE}]")
_TOKEN: Final = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]{0,64}m)"
    r"|(?P<erase>\x1b\[[0-2]?K)"  # erasing a line hides nothing when it is left out
    r"|(?P<home>\x1b\[1?G)"  # to the first column: how npm writes a carriage return
    r"|(?P<joiner>\u200d)"
    f"|(?P<other>{_SUSPECT.pattern})"
)
#: The beginning of a sequence that the next chunk may complete; bounded, so that nothing is held back for ever.
_UNFINISHED: Final = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,64})?|\u200d)\Z")
#: Characters that a zero-width joiner joins into one emoji.
_EMOJI: Final = re.compile("[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]")
_RESET: Final = re.compile(r"\x1b\[[0:;]*m")


class Visible:
    """Makes a stream of text visible piece by piece; a sequence split over two pieces is one sequence."""

    def __init__(self) -> None:
        self._handle = ""
        self._before = ""
        self._coloured = False

    def feed(self, text: str) -> str:
        """Return *text* fit to be shown; the beginning of an unfinished sequence waits for the next piece."""
        text = self._handle + text
        self._handle = ""
        if unfinished := _UNFINISHED.search(text):
            self._handle = unfinished[0]
            text = text[: unfinished.start()]
        return self._convert(text)

    def finish(self) -> str:
        """Return what still waits, and end a colour that was left on."""
        handle, self._handle = self._handle, ""
        return self._convert(handle) + self.plain()

    def plain(self) -> str:
        """Return what ends a colour that was left on; nothing when there is none."""
        coloured, self._coloured = self._coloured, False
        return "\x1b[0m" if coloured else ""

    def _convert(self, text: str) -> str:
        shown = _TOKEN.sub(self._token, text) if _SUSPECT.search(text) else text
        self._before = text[-1:] or self._before
        return shown

    def _token(self, match: re.Match[str]) -> str:
        kind, found = match.lastgroup, match[0]
        if kind == "sgr":
            return self._sgr(found)
        if kind == "erase":
            return ""
        if kind == "home":
            return "\r"
        if kind == "joiner" and self._joins(match):
            return found
        return named(found)

    def _sgr(self, found: str) -> str:
        if _conceals(found):
            return named("\x1b") + found[1:]
        self._coloured = not _RESET.fullmatch(found)
        return found

    def _joins(self, match: re.Match[str]) -> bool:
        before = match.string[match.start() - 1] if match.start() else self._before
        after = match.string[match.end() : match.end() + 1]
        return bool(_EMOJI.match(before) and _EMOJI.match(after))


def visible(text: str) -> str:
    """Return *text* fit to be shown: colours pass, every other control or invisible character is named.

    Args:
        text: anything; lone surrogates (bytes of a file name that are no UTF-8) are shown as `<0xNN>`.
    """
    stream = Visible()
    return stream.feed(text) + stream.finish()


def one_line(text: str) -> str:
    """Return *text* with every control and invisible character named, line ends and colours too: for names in a."""
    return re.sub(r"[\t\n\r]", lambda match: named(match[0]), _SUSPECT.sub(lambda match: named(match[0]), text))


def block(text: str) -> str:
    """Return *text* with every control and invisible character named but for line ends; tabs become spaces."""
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(map(one_line, lines))


def named(character: str) -> str:
    """Return how a control or invisible *character* is shown, such as `␛`, `<U+202E>` or `<0xFF>`."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"<0x{code - 0xDC00:02X}>" if 0xDC80 <= code <= 0xDCFF else f"<U+{code:04X}>"


def _conceals(sgr: str) -> bool:
    """Whether an SGR sequence holds 8 (conceal), which makes text unseen; `38;5;8` is a colour and fine."""
    codes = re.split("[;:]", sgr[2:-1])
    while codes:
        code = codes.pop(0)
        if code.lstrip("0") == "8":
            return True
        if code in ("38", "48", "58") and codes:
            del codes[: 2 if codes[0] == "5" else 4]
    return False
