"""Where an agent's credential is kept: as the manifest says, else where the agent itself looks for it on this host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bb_jupyter.agent import registry
from bb_jupyter.errors import BottleError, ManifestError

if TYPE_CHECKING:
    from bb_jupyter.agent.provision_plan import AgentRequest

#: Prefix of a route's `token_ref` that names a built-in provider's login on this host.
HOST_LOGIN = "host-login."


def resolve_token(ref: str) -> str:
    """Return the credential that a route's `token_ref` names; it may be a forwarded login of this host.

    Raises:
        BottleError: there is no such credential.
    """
    if ref.startswith(HOST_LOGIN):
        return registry.get_provider(ref.removeprefix(HOST_LOGIN)).host_credential()
    from bb_jupyter import manifest

    return manifest.resolve_token(ref)


def check_token(ref: str, *, path: str, key: str) -> None:
    """Check that a credential exists which a manifest names.

    Args:
        ref: the `token_ref`.
        path: the manifest's file; empty for none.
        key: the key of the manifest that names the credential.

    Raises:
        ManifestError: there is no such credential; with path and key.
    """
    try:
        resolve_token(ref)
    except ManifestError as error:
        raise ManifestError(error.message, path=path or None, key=key, hint=error.hint) from None


def token_ref(request: AgentRequest, *, provider: str, usual: Sequence[str]) -> str:
    """Return the `token_ref` for the route that a provider adds.

    Args:
        request: the provider's request.
        provider: the provider's name.
        usual: environment variables of the host that the agent itself would read, the preferred one first.

    Raises:
        ManifestError: there is no credential, or an empty one.
    """
    ref = request.ref
    if ref.forward_host_credentials:
        return HOST_LOGIN + provider
    if ref.auth_token:
        return ref.auth_token
    found = next((name for name in usual if _exists(name)), None)
    if found is None:
        raise ManifestError(
            f"agent '{request.agent.name}' needs a credential: this kernel has no {' or '.join(usual)}",
            hint=f"Set it, or write in the bottle 'agent_provider: {{template: {provider}, auth_token: NAME}}'.",
        )
    return found


def host_of(url: str, variable: str) -> tuple[str, int | None]:
    """Return host and port of an agent's service.

    Args:
        url: the service's URL.
        variable: the bottle's variable that has this URL, for the message.

    Raises:
        ManifestError: *url* is not an `https://` address.
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


def _exists(name: str) -> bool:
    try:
        return bool(resolve_token(name))
    except BottleError:
        return False
