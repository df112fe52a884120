"""Who commands run as in a bottle that is an image: the agent, unless a user of the image or a number is asked for."""

from __future__ import annotations

import re

from bb_jupyter.backend.plan import GUEST_UID, GUEST_USER
from bb_jupyter.errors import UsageError

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


def guest_user(user: str) -> str:
    """Return a user as engines take it: the agent by number, for an image may call 1000 by another name.

    Args:
        user: `NAME`, `UID` or `UID:GID`; empty for the agent.

    Raises:
        UsageError: that cannot be a user.
    """
    if user in ("", GUEST_USER, str(GUEST_UID)):
        return f"{GUEST_UID}:{GUEST_UID}"
    if not _USER.fullmatch(user):
        raise UsageError(f"not a user: {user!r}", hint="Write --user NAME, UID or UID:GID.")
    return user


def login(user: str) -> dict[str, str]:
    """Return the variables by which programs know who they run as; none for a number."""
    name = user.partition(":")[0] or GUEST_USER
    return {} if name.isdigit() else {"USER": name, "LOGNAME": name}
