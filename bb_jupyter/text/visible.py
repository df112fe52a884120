"""Make hostile text visible: the one set of rules for what a bottle or a repository wrote.

Hostile text must not move the cursor, set a terminal's title, write a link, or hide and reorder what a person reads.
Sources: ECMA-48 (terminal escapes), CVE-2021-42574 (bidi controls), UTR #36 (tag characters, invisible code points).

Four functions cover all places where text is shown:

* `one_line` for names, messages and cells of tables;
* `block` for text of several lines;
* `visible` for the output of a command, whose colours pass; `Visible` does the same for a stream;
* `quoted` for a value inside an error message.

`frontend/dom.js` applies the same rules in the page.  `tests/unit/text/visible.json` holds the cases that both pass.
"""

from __future__ import annotations

import re
from typing import Final

#: Characters that are invisible, or that reorder or join the characters beside them.
_INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_NAMED: Final = f"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_INVISIBLE}"
#: One search of this is all that clean text costs.
_SUSPECT: Final = re.compile(f"[{_NAMED}]")
_SUSPECT_IN_LINE: Final = re.compile(f"[\t\n\r{_NAMED}]")
_TOKEN: Final = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]{0,64}m)"
    r"|(?P<erase>\x1b\[[0-2]?K)"  # erasing a line hides nothing when it is left out
    r"|(?P<home>\x1b\[1?G)"  # to the first column: how npm writes a carriage return
    r"|(?P<joiner>\u200d)"
    f"|(?P<other>{_SUSPECT.pattern})"
)
#: The beginning of a sequence that the next piece may complete.  It is bounded, so no text is kept back for ever.
_UNFINISHED: Final = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,64})?|\u200d)\Z")
#: Characters that a zero-width joiner joins into one emoji.
_EMOJI: Final = re.compile("[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]")
_RESET: Final = re.compile(r"\x1b\[[0:;]*m")


class Visible:
    """Make a stream of text visible piece by piece; a sequence that is split over two pieces is one sequence."""

    def __init__(self) -> None:
        self._pending = ""
        self._before = ""
        self._coloured = False

    def feed(self, text: str) -> str:
        """Return *text* made visible; the beginning of an unfinished sequence waits for the next piece."""
        text = self._pending + text
        self._pending = ""
        if unfinished := _UNFINISHED.search(text):
            self._pending = unfinished[0]
            text = text[: unfinished.start()]
        return self._convert(text)

    def finish(self) -> str:
        """Return the text that still waits, and the reset of a colour that was left on."""
        pending, self._pending = self._pending, ""
        return self._convert(pending) + self.plain()

    def plain(self) -> str:
        """Return the sequence that resets a colour that was left on; empty when none is on."""
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
    """Return the output of a command made visible: its colours pass, other controls and invisible characters are named.

    Args:
        text: anything.  Lone surrogates, which stand for bytes that are not UTF-8, become `<0xNN>`.
    """
    stream = Visible()
    return stream.feed(text) + stream.finish()


def one_line(text: str, longest: int = 0) -> str:
    """Return *text* on one line: every control and invisible character is named, line ends, tabs and colours too.

    Args:
        text: anything.
        longest: most characters to return; the last is `…` where text was cut.  0 for no limit.
    """
    line = _SUSPECT_IN_LINE.sub(_named, text[: longest + 1] if longest else text)
    return line if not longest or len(line) <= longest else f"{line[: longest - 1]}…"


def block(text: str) -> str:
    """Return *text* with its lines: other controls and invisible characters are named, a tab becomes four spaces."""
    return "\n".join(map(one_line, text.replace("\r\n", "\n").replace("\t", "    ").split("\n")))


def quoted(value: object, longest: int = 60) -> str:
    """Return *value* for an error message, as Python writes it: on one line, cut to *longest* characters."""
    return one_line(repr(value), longest)


def last_line(output: bytes, otherwise: str = "it gave no reason") -> str:
    """Return the last line of a program's *output*, which says why it failed; *otherwise* when there is no line."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return one_line(lines[-1]) if lines else otherwise


def _named(match: re.Match[str]) -> str:
    return named(match[0])


def named(character: str) -> str:
    """Return the name of a control or invisible *character*, such as `␛`, `<U+202E>` or `<0xFF>`."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"<0x{code - 0xDC00:02X}>" if 0xDC80 <= code <= 0xDCFF else f"<U+{code:04X}>"


def _conceals(sgr: str) -> bool:
    """Return whether an SGR sequence holds 8 (conceal), which hides text; the 8 in `38;5;8` is a colour."""
    codes = re.split("[;:]", sgr[2:-1])
    while codes:
        code = codes.pop(0)
        if code.lstrip("0") == "8":
            return True
        if code in ("38", "48", "58") and codes:
            del codes[: 2 if codes[0] == "5" else 4]
    return False
