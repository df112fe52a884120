"""How the gate reaches an upstream: by ssh with this host's identity, by https with a token, or by path.

Everything that could ask a question is off, every wait has an end, and no secret is on a command line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bb_jupyter.broker.broker_config import GitRepoConfig
from bb_jupyter.broker.git_gate.environment import environment

#: Seconds until a server that does not answer is given up, and until a connection without progress is.
_CONNECT, _STALL = 15, 60
_HELPER: Final = (
    """!f() { test "$1" = get && printf 'username=%s\\npassword=%s\\n' "$BB_GIT_USER" "$BB_GIT_TOKEN"; }; f"""
)
#: Forges take any user name beside a token, but not none.
_ANY_USER: Final = "x-access-token"


def protocol(url: str) -> str:
    """Return git's name for the transport of a checked URL: ``https``, ``ssh`` or ``file``."""
    if url.startswith("/"):
        return "file"
    return "https" if url.startswith("https://") else "ssh"


@contextlib.contextmanager
def reaching(repo: GitRepoConfig) -> Iterator[dict[str, str]]:
    """Give the environment in which git reaches one upstream, **with its credential**.

    Args:
        repo: the upstream.

    Yields:
        The environment; what it names is gone afterwards.
    """
    settings = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": str(_STALL), "http.sslVerify": "true"}
    variables = {"GIT_ALLOW_PROTOCOL": protocol(repo.url)}
    if repo.ca:
        variables["GIT_SSL_CAINFO"] = repo.ca
    if repo.token:
        place = urlsplit(repo.url)
        # Only this server is told, not one that it redirects to.
        settings[f"credential.https://{place.netloc}.helper"] = _HELPER
        variables |= {"BB_GIT_USER": repo.username or _ANY_USER, "BB_GIT_TOKEN": repo.token}
    if protocol(repo.url) == "file" and "HOME" in os.environ:
        variables["HOME"] = os.environ["HOME"]  # the upstream's own hooks are its owner's, as are their needs
    with tempfile.TemporaryDirectory(prefix="bb-git-") as folder:
        if protocol(repo.url) == "ssh":
            variables |= {"GIT_SSH_COMMAND": _ssh(repo, Path(folder)), "GIT_SSH_VARIANT": "ssh"}
        yield environment(settings, variables)


def _ssh(repo: GitRepoConfig, folder: Path) -> str:
    """Return the ssh command: the user's own configuration counts where the manifest pins nothing (ssh_config(5))."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(_CONNECT),
        "ConnectionAttempts": "1",
        "ServerAliveInterval": str(_STALL // 4),
        "ServerAliveCountMax": "3",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "LogLevel": "ERROR",
    }
    if repo.host_key:
        known = folder / "known_hosts"
        known.write_text(f"upstream {repo.host_key}\n", encoding="ascii")
        options |= {"UserKnownHostsFile": str(known), "GlobalKnownHostsFile": "none", "HostKeyAlias": "upstream"}
    if repo.identity:
        options |= {"IdentityFile": re.sub("%", "%%", repo.identity), "IdentitiesOnly": "yes"}
    return shlex.join(["ssh", *(part for name, value in options.items() for part in ("-o", f'{name}="{value}"'))])
