"""What runs use, compared with what they may use.

A run over its limit is stopped at the gateway first, so that nothing more leaves the bottle whatever its agent does.
The gateway of a run counts bytes itself.  It lets pass what the run may use, or what the experiment's budget has left
when the run begins.  Concurrent runs may each use that rest until their sum is next looked at.  So the experiment
exceeds its bytes by what passes in a fraction of a second at most, and not at all when runs follow one another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bb_jupyter.agent.events import Usage
from bb_jupyter.experiment.definition import RunLimits
from bb_jupyter.experiment.record import RunOutcome
from bb_jupyter.manifest import format_duration, format_size


@dataclass
class Spent:
    """What runs used.

    Attributes:
        tokens: input and output tokens.
        money: US dollars.
        egress: bytes.
    """

    tokens: int = 0
    money: float = 0.0
    egress: int = 0

    def note(self, usage: Usage) -> None:
        """Take the total that the agent reports; a smaller total than before changes nothing."""
        self.tokens = max(self.tokens, usage.input_tokens + usage.output_tokens)
        self.money = max(self.money, usage.cost or 0.0)

    @classmethod
    def of(cls, outcome: RunOutcome) -> Spent:
        """Return what a run that ended has used."""
        used, net = outcome.usage, outcome.egress
        tokens = (used.get("input_tokens") or 0) + (used.get("output_tokens") or 0)
        return cls(int(tokens), used.get("cost") or 0.0, net.get("up", 0) + net.get("down", 0))

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.money + other.money, self.egress + other.egress)


@dataclass
class Meter:
    """Watches one run, or a whole experiment.

    Attributes:
        limits: what may be used.
        spent: what has been used.
        began: start, in monotonic seconds.
    """

    limits: RunLimits
    spent: Spent = field(default_factory=Spent)
    began: float = field(default_factory=time.monotonic)

    @property
    def egress_left(self) -> int | None:
        """Remaining bytes of egress; `None` for no limit."""
        return None if self.limits.egress is None else max(0, self.limits.egress - self.spent.egress)

    def over(self) -> str:
        """Return which limit is exceeded, and by how much; empty when none is."""
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
