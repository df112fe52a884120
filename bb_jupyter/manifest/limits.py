"""Limits: how much of the host a bottle may use."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator, Field

from bb_jupyter.manifest.strict_model import StrictModel
from bb_jupyter.manifest.units import format_size, parse_duration, parse_size
from bb_jupyter.text.visible import quoted

# The least memory that a Docker engine accepts.  Less is most often a forgotten unit, as in `memory: 4`.
_LEAST = 6 * 2**20


def _size(value: object) -> int:
    number = parse_size(value) if isinstance(value, str) else _number(value, "a size such as 512m or 4g")
    if number < _LEAST:
        raise ValueError(f"{format_size(int(number))} is too little\nUnits are k, m, g and t; the least is 6m.")
    return int(number)


def _duration(value: object) -> float:
    return parse_duration(value) if isinstance(value, str) else float(_number(value, "a duration such as 30m"))


def _number(value: object, wanted: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected {wanted}, got {quoted(value)}")
    if value <= 0:
        raise ValueError(f"must be more than 0, got {quoted(value)}")
    return value


Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[float, BeforeValidator(_duration)]


class Limits(StrictModel):
    """How much of the host a bottle may use; ``None`` leaves it to the session's default.

    Attributes:
        cpus: processors, fractions allowed.
        memory: bytes.
        pids: processes and threads.
        timeout: seconds that one execution may take.
        disk: bytes that the writable file systems hold.
    """

    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    memory: Size | None = None
    pids: Annotated[int, Field(gt=0)] | None = None
    timeout: Duration | None = None
    disk: Size | None = None

    def merged(self, over: Limits) -> Limits:
        """Return these limits with the values of *over* where it sets any."""
        return self.model_copy(update=over.model_dump(exclude_none=True))

    def narrowed(self, to: Limits) -> Limits:
        """Return the smaller of each pair: how limits that a repository asks for are applied."""
        pairs = ((name, getattr(self, name), value) for name, value in to.model_dump(exclude_none=True).items())
        return self.model_copy(update={name: value if own is None else min(own, value) for name, own, value in pairs})
