"""A person's input for an agent, checked: the prompt, and the name of the conversation to continue."""

from __future__ import annotations

import re

from bb_jupyter.errors import UsageError

#: Longest prompt in bytes; the agents' own limits are a few megabytes.
MAX_PROMPT = 4 << 20
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def prompt_text(prompt: str | bytes) -> str:
    """Return *prompt* as text.

    Raises:
        UsageError: the prompt is empty or too long, contains a NUL, or is not UTF-8.
    """
    try:
        text = prompt.decode() if isinstance(prompt, bytes) else prompt
        size = len(text.encode())
    except UnicodeError as error:
        raise UsageError(
            f"the prompt is not UTF-8: {error.reason} at {error.start}"
            if isinstance(error, UnicodeDecodeError)
            else f"the prompt is not UTF-8: half a surrogate pair at {getattr(error, 'start', 0)}",
            hint="Decode it first: text.decode('latin-1'), or 'utf-8' with errors='replace'.",
        ) from None
    if not text.strip():
        raise UsageError("the prompt is empty", hint="Write the agent's task below the magic.")
    if "\0" in text:
        raise UsageError("the prompt contains a NUL character")
    if size > MAX_PROMPT:
        hint = "Copy the data in as a file, and name the file in the prompt."
        raise UsageError(f"the prompt is {size} bytes long; the limit is {MAX_PROMPT}", hint=hint)
    return text


def session_name(session: str) -> str:
    """Check and return the name of a conversation; it becomes an argument of the agent's command.

    Raises:
        UsageError: *session* cannot be such a name.
    """
    if not is_session(session):
        raise UsageError(f"not the name of a conversation: {session[:80]!r}")
    return session


def is_session(name: str) -> bool:
    """Whether *name* can be the name of a conversation."""
    return _SESSION.fullmatch(name) is not None
