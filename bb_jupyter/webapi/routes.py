"""The JSON API behind panel and dashboard: its paths, their arguments, and what each does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bb_jupyter.approvals import kinds
from bb_jupyter.errors import AlreadyDecided, BottleError, TokenMismatch, UnknownProposal, UsageError
from bb_jupyter.webapi import approvals, bottles, egress, output
from bb_jupyter.webapi.host_id import place

Json = Mapping[str, Any]

_SLUG = r"(?P<slug>[a-z0-9][a-z0-9-]{0,63})"
_ID = r"(?P<id>[1-9][0-9]{0,8})"


@dataclass(frozen=True)
class Call:
    """One call of the API.

    Attributes:
        parts: what the path's pattern matched: `slug`, `id`.
        query: arguments after the path.
        body: the JSON object that came with it.
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)

    def number(self, name: str, default: int, least: int = 0) -> int:
        """Return an argument of the query as an integer.

        Raises:
            UsageError: it is none, or below *least*.
        """
        text = self.query.get(name, "")
        if not text:
            return default
        if not re.fullmatch(r"-?[0-9]{1,15}", text) or int(text) < least:
            raise UsageError(f"{name}: not a number in range: {text[:32]!r}")
        return int(text)

    def text(self, name: str, most: int = 4096) -> str:
        """Return a field of the body as text, empty when it is missing.

        Raises:
            UsageError: it is not text, or longer than *most* characters.
        """
        value: object = self.body.get(name, "")
        if not isinstance(value, str) or len(value) > most:
            raise UsageError(f"{name}: must be text of at most {most} characters")
        return value


@dataclass(frozen=True)
class Route:
    """One path.

    Attributes:
        pattern: a regular expression that the whole path below the API's root matches.
        methods: functions by the HTTP method that calls them; each returns JSON.
    """

    pattern: str
    methods: Mapping[str, Callable[[Call], Json]]


def _log(call: Call) -> Json:
    return output.read(
        call.parts["slug"],
        run=call.number("run", 0),
        offset=call.number("offset", -output.TAIL, least=-output.MOST),
        events=bool(call.number("events", 0)),
    )


def _decide(call: Call) -> Json:
    return approvals.decide(
        int(call.parts["id"]),
        verdict=call.text("verdict"),
        token=call.text("token"),
        why=call.text("why"),
        options={name: call.body.get(name) for name in kinds.options()},
    )


ROUTES = (
    Route("where", {"GET": lambda call: place()}),
    Route("bottles", {"GET": lambda call: bottles.listing()}),
    Route(f"bottles/{_SLUG}", {"DELETE": lambda call: bottles.stop(call.parts["slug"])}),
    Route(f"bottles/{_SLUG}/log", {"GET": _log}),
    Route(f"bottles/{_SLUG}/egress", {"GET": lambda call: egress.requests(call.parts["slug"])}),
    Route(
        f"bottles/{_SLUG}/allow", {"POST": lambda call: bottles.allow(call.parts["slug"], call.text("host", most=300))}
    ),
    Route("approvals", {"GET": lambda call: approvals.pending()}),
    Route(f"approvals/{_ID}", {"GET": lambda call: approvals.one(int(call.parts["id"])), "POST": _decide}),
)


def answer(method: str, path: str, query: Mapping[str, str], body: Json) -> tuple[int, Json]:
    """Answer a call that came over a comm.

    Returns:
        An HTTP status, and JSON; that of an error has `message` and `hint`.
    """
    for route in ROUTES:
        match = re.fullmatch(route.pattern, path)
        if match and method in route.methods:
            return guarded(route.methods[method], Call(match.groupdict(), query, body))
    return 404, {"message": "there is no such path", "hint": ""}


def guarded(act: Callable[[Call], Json], call: Call) -> tuple[int, Json]:
    """Return status and JSON of a call; a `BottleError` becomes its status, message and hint."""
    try:
        return 200, act(call)
    except BottleError as error:
        return _status(error), {"message": error.message, "hint": error.hint}


def _status(error: BottleError) -> int:
    if isinstance(error, UnknownProposal):
        return 404
    if isinstance(error, AlreadyDecided | TokenMismatch):
        return 409
    return 400 if isinstance(error, UsageError) else 409
