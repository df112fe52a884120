"""What a run has used, against what it may use.

Over its limit, a run is stopped at the gateway first: whatever its agent still tries, nothing more leaves the bottle.
The gateway of a run counts bytes by itself and lets pass what the run may use, or what the whole experiment has left
when the run begins.  Of runs at the same time each may use that, until the next look at all of them: the whole goes
beyond its bytes by what passes in a fraction of a second at most, and not at all when runs follow each other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bb_jupyter.agent.events import Usage
from bb_jupyter.experiment.definition import RunLimits
from bb_jupyter.manifest import format_duration, format_size


@dataclass
class Spent:
    """What was used.

    Attributes:
        tokens: read and written.
        money: US dollars.
        egress: bytes.
    """

    tokens: int = 0
    money: float = 0.0
    egress: int = 0

    def note(self, usage: Usage) -> None:
        """Take what the agent says it has used so far, in all; it cannot take anything back."""
        self.tokens = max(self.tokens, usage.input_tokens + usage.output_tokens)
        self.money = max(self.money, usage.cost or 0.0)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.money + other.money, self.egress + other.egress)


@dataclass
class Meter:
    """Watches one run, or a whole experiment.

    Attributes:
        limits: what it may use.
        spent: what it has used.
        began: monotonic seconds.
    """

    limits: RunLimits
    spent: Spent = field(default_factory=Spent)
    began: float = field(default_factory=time.monotonic)

    @property
    def egress_left(self) -> int | None:
        """Bytes that are left; `None` for no limit."""
        return None if self.limits.egress is None else max(0, self.limits.egress - self.spent.egress)

    def over(self) -> str:
        """Return which limit was passed, and by how much; empty when none was."""
        limits, spent = self.limits, self.spent
        seconds = time.monotonic() - self.began
        if limits.time is not None and seconds >= limits.time:
            return f"over its time of {format_duration(limits.time)}"
        if limits.tokens is not None and spent.tokens > limits.tokens:
            return f"over its tokens: {spent.tokens:,} of {limits.tokens:,}"
        if limits.money is not None and spent.money > limits.money:
            return f"over its money: ${spent.money:.4f} of ${limits.money:.4f}"
        if limits.egress is not None and spent.egress > limits.egress:
            return f"over its egress of {format_size(limits.egress)}"
        return ""
