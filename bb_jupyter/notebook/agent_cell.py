"""A cell whose body is a prompt: the bottle's agent works on it, and the cell shows how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.notebook.views import transcript
from bb_jupyter.notebook.views.approval_cards import Cards


@dataclass(frozen=True)
class Prompt:
    """What to ask.

    Attributes:
        body: the prompt.
        resume: whether to go on with the bottle's conversation; `None`: when there is one.
        env: variables beside the bottle's.
        cwd: working directory; empty for the bottle's.
        timeout: seconds; `None` for the bottle's limit.
    """

    body: str
    resume: bool | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    timeout: float | None = None


class AgentCell:
    """An agent that has been asked; one thread shows it.

    Args:
        handle: the bottle.
        prompt: what to ask.

    Raises:
        BottleGone: the bottle died or was stopped.
        UsageError: the bottle has no agent, the prompt is not one, or there is no conversation to go on with.
    """

    def __init__(self, handle: BottleHandle, prompt: Prompt) -> None:
        self.name = handle.name
        self._cards = Cards(handle)
        try:
            self._run = handle.ask(
                prompt.body, resume=prompt.resume, env=prompt.env, cwd=prompt.cwd or None, timeout=prompt.timeout
            )
        except BaseException:
            self._cards.finish()
            raise

    def show(self) -> AgentResult:
        """Show the run until it ends; see `transcript.show`."""
        return transcript.show(self.name, self._run, self._cards)

    def kill(self) -> None:
        """End the agent, and nothing else.  Any thread may.  Idempotent."""
        self._run.kill()
