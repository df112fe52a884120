"""Resolves token references: a manifest names a credential, and the host's environment or home holds it."""

from __future__ import annotations

import os

from bb_jupyter.errors import ManifestError
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.manifest.manifest_files import read_text

_HINT = "Set the variable in the kernel's environment, or write the credential into the file."


class Secret(str):
    """A credential: text whose `repr` hides its value, so that no traceback shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<secret>'"


def resolve_token(ref: str) -> Secret:
    """Find the credential that a checked ``token_ref`` or ``auth_token`` names.

    An environment variable of that name comes first, then ``secrets/<ref>`` in the user's folder, without the line
    breaks at its end.

    Raises:
        ManifestError: neither exists, the one that does is empty, or its value cannot be sent in a header.
    """
    variable, file = f"environment variable {ref}", bot_bottle_home() / "secrets" / ref
    value = _of_environment(ref)
    if value is not None:
        return _checked(value, variable)
    if not os.path.lexists(file):
        raise ManifestError(f"there is neither the {variable} nor the file {file}", hint=_HINT)
    value = Secret(read_text(file).strip("\r\n"))
    return _checked(value, f"file {file}")


def _of_environment(ref: str) -> Secret | None:
    """Return the variable's value.  A verbose traceback would show `os.environ`, so this has a frame of its own."""
    return Secret(os.environ[ref]) if ref in os.environ else None


def _checked(value: Secret, where: str) -> Secret:
    if not value.strip():
        raise ManifestError(f"the {where} is empty", hint=_HINT)
    # RFC 9110, section 5.5: a field value; whatever is outside could end the header and begin another.
    if not all(" " <= character <= "~" for character in value):
        raise ManifestError(f"the {where} holds a line break, a control or a non-ASCII character: not a credential")
    return value
