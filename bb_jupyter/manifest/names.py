"""Names of bottles and agents: one rule, because a name becomes a file, a host name and a label."""

from __future__ import annotations

import re

from bb_jupyter.errors import UsageError
from bb_jupyter.text.visible import quoted

NAME_MAX = 40
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Say whether *text* can name a bottle or an agent."""
    return _NAME.fullmatch(text) is not None


def validate_name(kind: str, name: str) -> str:
    """Check a name that a person typed.

    Args:
        kind: what is named, for the message: ``bottle`` or ``agent``.
        name: the name: 1 to 40 of ``a-z``, ``0-9`` and ``-``, not beginning or ending with ``-``.

    Returns:
        The same name.

    Raises:
        UsageError: the name breaks the rule; the hint has a corrected one where that is possible.
    """
    if is_name(name):
        return name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:NAME_MAX].strip("-")
    raise UsageError(
        f"{quoted(name)} cannot name {'an' if kind[:1] in 'aeiou' else 'a'} {kind}: "
        f"use 1 to {NAME_MAX} of a-z, 0-9 and '-', with a letter or digit at both ends",
        hint=f"Try '{slug}'." if slug else "",
    )
