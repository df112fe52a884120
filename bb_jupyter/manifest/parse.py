"""Parses a manifest's text into plain data, and records the line of every key.

Values stay as they are written: ``1.10`` is the text ``1.10`` and ``no`` is the text ``no``; the models convert text to
numbers and booleans.  Anchors, aliases and tags are refused, so that data is never larger than its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bb_jupyter.errors import ManifestError
from bb_jupyter.manifest.manifest_files import MAX_BYTES
from bb_jupyter.text.visible import quoted

_DEEPEST = 16
_KEY_MAX = 60
_FENCE = re.compile(r"---[ \t]*")
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "bool", "int", "float", "timestamp", "merge", "value")}

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed manifest.

    Attributes:
        path: the file, or a label such as ``<cell>``.
        data: the YAML's content: text, ``None``, lists and mappings.
        body: the Markdown below the frontmatter.
        lines: 1-based line of each location in *data*.
        nulls: locations of values that were left empty.
    """

    path: str
    data: dict[str, object] = field(default_factory=dict)
    body: str = ""
    lines: dict[Loc, int] = field(default_factory=dict)
    nulls: list[Loc] = field(default_factory=list)

    def error(self, message: str, loc: Loc = (), hint: str = "") -> ManifestError:
        """Make an error at *loc*, with the line of the innermost part around it that has one."""
        known = next((loc[:end] for end in range(len(loc), 0, -1) if loc[:end] in self.lines), ())
        return ManifestError(message, path=self.path, line=self.lines.get(known), key=dotted(loc), hint=hint)


def parse(text: str, path: str, *, plain: bool = False) -> Document:
    """Parse a manifest's text.

    Args:
        text: YAML frontmatter between ``---`` lines, then Markdown.
        path: the file or label that errors name.
        plain: accept text without fences as being YAML only.

    Raises:
        ManifestError: with line and key.
    """
    _check_text(text, path)
    lines = text.removeprefix("\ufeff").split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    if first == len(lines) or not _FENCE.fullmatch(lines[first].rstrip("\r")):
        if not plain:
            raise ManifestError("does not begin with '---'", path=path, hint="Put keys between two lines of '---'.")
        return _read(path, "\n".join(lines), 0, "")
    last = next((n for n in range(first + 1, len(lines)) if _FENCE.fullmatch(lines[n].rstrip("\r"))), None)
    if last is None:
        raise ManifestError("'---' is never closed", path=path, line=first + 1, hint="Add '---' below the last key.")
    return _read(path, "\n".join(lines[first + 1 : last]), first + 1, "\n".join(lines[last + 1 :]).strip())


def _check_text(text: str, path: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ManifestError(f"not text: character {error.start} is half a surrogate pair", path=path) from error
    if size > MAX_BYTES:
        raise ManifestError(f"larger than {MAX_BYTES // 1024} KiB", path=path)
    if "\0" in text:
        raise ManifestError("has a NUL character", path=path, line=text.count("\n", 0, text.index("\0")) + 1)


def _read(path: str, source: str, offset: int, body: str) -> Document:
    document = Document(path=path, body=body)
    root = _compose(path, source, offset)
    data = None if root is None else _Reader(document, offset).value(root, ())
    if data is not None and not isinstance(data, dict):
        raise ManifestError(f"expected keys and values, got {kind_of(data)}", path=path, line=offset + 1)
    document.data.update(data or {})
    return document


def _compose(path: str, source: str, offset: int) -> Node | None:
    """Let PyYAML find the nodes; its errors become one-line ManifestErrors."""

    def wrong(problem: str, line: int | None) -> ManifestError:
        return ManifestError(f"not valid YAML{problem}", path=path, line=line and line + offset)

    try:
        loader = _Loader(source)
    except yaml.reader.ReaderError as error:
        line = source.count("\n", 0, error.position) + 1
        raise wrong(f": the character U+{int(error.character):04X} is not allowed", line) from error
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        mark = error.problem_mark
        raise wrong(
            f" at column {mark.column + 1}: {problem}" if mark else problem, mark.line + 1 if mark else None
        ) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets int() and chr() fail on their own
        raise wrong(": a number or an escape is out of range", loader.line + 1) from error


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses anchors, aliases and deep nesting, which make data larger, cyclic or deep."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            sign = "*" if self.check_event(yaml.AliasEvent) else "&"
            name = quoted(f"{sign}{event.anchor}")
            raise yaml.composer.ComposerError(
                None, None, f"anchors and aliases are not used here: {name}", event.start_mark
            )
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {_DEEPEST}", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclass(frozen=True)
class _Reader:
    """Turns nodes into plain data, noting lines and empty values in the document."""

    document: Document
    offset: int

    def value(self, node: Node, loc: Loc) -> object:
        self.document.lines.setdefault(loc, self._line(node))
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        text = self._text(node, loc)
        if node.tag != "tag:yaml.org,2002:null":
            return text
        self.document.nulls.append(loc)
        return None

    def _text(self, node: Node, loc: Loc) -> str:
        if not isinstance(node, ScalarNode) or node.tag not in _TAGS:
            raise self.document.error(f"tags are not used here: {quoted(node.tag)}", loc)
        try:
            node.value.encode()
        except UnicodeEncodeError as error:
            raise self.document.error("holds half a surrogate pair, which is no text", loc) from error
        return str(node.value)

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self.document.error(f"line {self._line(key_node)}: a key must be text", loc)
            key = self._text(key_node, loc)
            if key in data:
                line, place = self._line(key_node), (*loc, key)
                first = self.document.lines.pop(place)
                self.document.lines[place] = line
                raise self.document.error(f"written twice, on lines {first} and {line}", place)
            self.document.lines[(*loc, key)] = self._line(key_node)
            data[key] = self.value(value_node, (*loc, key))
        return data

    def _line(self, node: Node) -> int:
        return int(node.start_mark.line) + 1 + self.offset


def kind_of(value: object) -> str:
    """Name the type of a manifest's value in words, without showing the value (it may be a secret)."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def dotted(loc: tuple[str | int, ...]) -> str:
    """Write a location as a dotted key: ``("egress", "routes", 0)`` is ``egress.routes[0]``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part and part.isprintable() and part.isascii() and len(part) <= _KEY_MAX else quoted(part)
            text += f".{name}" if text else name
    return text
