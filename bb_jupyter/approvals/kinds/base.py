"""What a kind of request is: its content, how it is shown, what its approval takes, and what that brings about.

The broker writes the content of a proposal, and its texts come from the bottle: they are hostile.  A kind returns plain
text and never marks anything up; `bb_jupyter.text.visible` and ``frontend/dom.js`` make it fit to be shown.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar, get_args, get_origin, get_type_hints

from bb_jupyter.approvals.store.proposal import Decision, Proposal
from bb_jupyter.errors import UsageError

#: Most values of an option that takes several, and most characters of one value.
_MOST, _LONGEST = 1000, 20_000
_PATH: Final = re.compile(r"(?<![\w:/.@~-])~?/[^\s'\":;,()]+")
"""An absolute path, or one below a home; not what follows the host in a URL."""
ContentT = TypeVar("ContentT", bound="Content")


def without_paths(text: str) -> str:
    """Return *text* with ``…`` in place of paths of this host, which are not the agent's business."""
    return _PATH.sub("…", text)


@dataclass(frozen=True)
class Content:
    """The content of a proposal: a dataclass whose fields all have defaults.

    Fields are texts, numbers, truths, tuples, other contents, or mappings of plain JSON.
    """

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read what `to_json` wrote.  What is missing or has another shape becomes the field's default."""
        given = data if isinstance(data, Mapping) else {}
        hints, found = _hints(cls), {}  # type: ignore[arg-type]  # a class is hashable
        for item in fields(cls):
            value = _read(hints[item.name], given.get(item.name))
            if value is not _WRONG:
                found[item.name] = value
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}


_WRONG: Final = object()


@cache
def _hints(content: Hashable) -> dict[str, Any]:
    return get_type_hints(content)


def _read(wanted: Any, value: object) -> Any:  # noqa: ANN401 -- any type that a field may have
    """Return *value* as a field of type *wanted* has it, or `_WRONG`."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is tuple:
        items = [_read(arguments[0], item) for item in value] if isinstance(value, list | tuple) else _WRONG
        return tuple(item for item in items if item is not _WRONG) if isinstance(items, list) else _WRONG
    if NoneType in arguments:
        return None if value is None else _read(arguments[0], value)
    if origin is not None:
        return dict(value) if isinstance(value, Mapping) else _WRONG
    if is_dataclass(wanted):
        return wanted.from_json(value) if isinstance(value, Mapping) else _WRONG  # type: ignore[union-attr]
    if wanted is float:
        wanted = float | int
    return value if isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool) else _WRONG


def _plain(value: object) -> Any:  # noqa: ANN401 -- plain JSON
    if isinstance(value, Content):
        return value.to_json()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Part:
    """One part of what a human judges.

    Attributes:
        title: what it is; empty for none.
        body: its text, any number of lines; hostile.
        is_diff: additions and deletions are coloured.
        warns: it is shown in red.
    """

    title: str
    body: str
    is_diff: bool = False
    warns: bool = False


@dataclass(frozen=True)
class Option:
    """Something that a human may say with an approval.

    `%bottle approve`, its completion, the web API and `bb_jupyter.approve` offer it from this declaration.

    Attributes:
        name: of the keyword in Python and of the field in JSON.
        metavar: stands for the value in the help.
        help: what it does.
        flag: of `%bottle approve`; empty for ``--`` and the name.
        several: it can be repeated; its value is a list.
        is_path: its value is a path of this host.
        is_required: no approval without it.
        in_hint: the hint below a proposal names it.
    """

    name: str
    metavar: str
    help: str
    flag: str = ""
    several: bool = False
    is_path: bool = False
    is_required: bool = False
    in_hint: bool = True

    @property
    def as_flag(self) -> str:
        """The flag of `%bottle approve`."""
        return self.flag or f"--{self.name}"

    @property
    def usage(self) -> str:
        """How it is written in a hint: `--answer TEXT` or `[--to PATH]`."""
        words = f"{self.as_flag} {self.metavar}"
        return words if self.is_required else f"[{words}]"

    def read(self, value: object) -> str | list[str]:
        """Return a value as text, or as a list of texts where several are taken.

        Raises:
            UsageError: it is something else, or too long.
        """
        if not self.several:
            return self._text(value)
        if not isinstance(value, list | tuple) or len(value) > _MOST:
            raise UsageError(f"{self.name}: must be a list of at most {_MOST} texts")
        return [self._text(item) for item in value]

    def _text(self, value: object) -> str:
        if isinstance(value, os.PathLike) and self.is_path:
            value = os.fspath(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise UsageError(f"{self.name}: must be text of at most {_LONGEST} characters")
        return value


@dataclass(frozen=True)
class Result:
    """What an approval brought about.

    Attributes:
        ok: it is done.
        text: what was done, or why not, in a line for the human.
        detail: more, plain JSON; it is kept with the outcome.
        held: it was not done, and the proposal waits for a new decision.
    """

    ok: bool
    text: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    held: bool = False


class Context(Protocol):
    """What the effect of an approval may use: given by the broker, or by the process that approves after its end."""

    async def allow_route(self, proposal: Proposal) -> int:
        """Put the route of an approved proposal in force.

        Returns:
            The generation of the policy.

        Raises:
            BottleError: it could not be put in force.
        """

    async def release_push(self, proposal: Proposal) -> Result:
        """Bring an approved push upstream."""


class Kind(ABC, Generic[ContentT]):
    """One kind of request.  `name` and `content` have to be set, and `title` and `parts` to be defined.

    Attributes:
        name: as in a proposal; the name of the kind's file.
        content: the class of its contents.
        options: what an approval takes.
        outlives_bottle: it stays when its bottle has ended; then whoever approves it brings about its effect.
        patience: seconds for which whoever approves waits for the outcome.
    """

    name: ClassVar[str]
    content: type[ContentT]
    options: ClassVar[tuple[Option, ...]] = ()
    outlives_bottle: ClassVar[bool] = False
    patience: ClassVar[float] = 60.0

    def read(self, proposal: Proposal) -> ContentT:
        """Return the content of a proposal of this kind."""
        return self.content.from_json(proposal.content)

    @abstractmethod
    def title(self, content: ContentT) -> str:
        """Return what is asked for as a line that goes on after the bottle's name: ``wants to reach h.example``."""

    @abstractmethod
    def parts(self, content: ContentT) -> Iterable[Part]:
        """Return what a human has to see before they decide."""

    def page(self, content: ContentT) -> Mapping[str, Any]:
        """Return what the kind's part of the page draws, as plain JSON: the whole content."""
        return content.to_json()

    def summary(self, content: ContentT) -> str:
        """Return what is asked for, for the agent's own list of its requests."""
        return self.title(content)

    def suggestions(self, content: ContentT, option: str) -> Iterable[str]:
        """Return values that complete an option."""
        return ()

    def answer(self, proposal: Proposal, content: ContentT, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what an approval says beside yes, as plain JSON; the decision keeps it.

        Args:
            proposal: what is approved.
            content: its content.
            values: by the names of this kind's options; those that were not given are missing.

        Raises:
            UsageError: a value does not fit the proposal, or is missing.
        """
        return dict(values)

    def approval(self, content: ContentT, decision: Decision) -> str:
        """Return an approval as the agent reads it."""
        return "The human approved this."

    def outcome(self, ok: bool, text: str) -> str:
        """Return what an approval brought about as the agent reads it."""
        return text if ok else without_paths(text)

    async def effect(self, proposal: Proposal, content: ContentT, decision: Decision, context: Context) -> Result:
        """Bring about what was approved; the broker runs this."""
        return Result(True)

    def clean_up(self, proposal: Proposal) -> None:
        """Remove what was kept for a proposal that is settled.  Idempotent."""


def reason(content: object) -> Iterator[Part]:
    """Yield the part that says why, if the content has a reason."""
    if text := getattr(content, "reason", ""):
        yield Part("reason", str(text))
