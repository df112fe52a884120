"""Where a built-in provider's credential is kept: where the manifest says, else where the agent itself looks."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from bb_jupyter.agent.provision_plan import AgentRequest
from bb_jupyter.agent.provision_planning import HOST_LOGIN, resolve_token
from bb_jupyter.errors import BottleError, ManifestError


def token_ref(request: AgentRequest, *, provider: str, usual: Sequence[str]) -> str:
    """Return the `token_ref` of the route that a provider brings.

    Args:
        request: what is planned for.
        provider: the provider's name.
        usual: variables of the host that the agent itself would read, the preferred one first.

    Raises:
        ManifestError: there is no credential, or an empty one.
    """
    ref = request.ref
    if ref.forward_host_credentials:
        return HOST_LOGIN + provider
    if ref.auth_token:
        return ref.auth_token
    found = next((name for name in usual if _is_there(name)), None)
    if found is None:
        raise ManifestError(
            f"agent '{request.agent.name}' needs a credential: this kernel has no {' or '.join(usual)}",
            hint=f"Set it, or write in the bottle 'agent_provider: {{template: {provider}, auth_token: NAME}}'.",
        )
    return found


def host_of(url: str, variable: str) -> tuple[str, int | None]:
    """Return host and port of the service that a variable of the bottle names.

    Raises:
        ManifestError: it is not an `https://` address.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme != "https" or not host:
        hint = "Write https://HOST[:PORT][/PATH], or declare a route for it yourself."
        raise ManifestError("is not an https address", key=f"env.{variable}", hint=hint)
    return host, port


def _is_there(name: str) -> bool:
    try:
        return bool(resolve_token(name))
    except BottleError:
        return False
