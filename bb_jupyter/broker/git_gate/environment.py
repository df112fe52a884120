"""git as the gate runs it: nothing of the user's, the system's or a repository's configuration has a say.

Hooks, fsmonitor, attributes, credential helpers, pagers, replaced objects and lazy fetches are off; protocols are
allowed one by one.  See git(1), "ENVIRONMENT VARIABLES", and git-config(1).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bb_jupyter.errors import BottleError

_PASSED: Final = (
    "PATH", "TMPDIR", "SSH_AUTH_SOCK", "PYTHONPATH", "GIT_SSL_CAINFO",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
)  # fmt: skip
"""Variables of this host that git gets."""

_ALWAYS: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("gitconfig")),
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_ALLOW_PROTOCOL": "",
    "LC_ALL": "C",
}

EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

SETTINGS: Final = {
    "attr.tree": EMPTY_TREE,  # else git 2.43 to 2.45 takes HEAD's, and what it calls binary no diff shows
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.logAllRefUpdates": "false",
    "core.bigFileThreshold": "16m",  # bigger ones are streamed, and no diff is made of them
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    "core.deltaBaseCacheLimit": "32m",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "pack.deltaCacheSize": "32m",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "transfer.hideRefs": "refs/held",
    "transfer.bundleURI": "false",
}
"""What git is told every time."""


class GitFailed(BottleError):
    """A git command failed.

    Attributes:
        output: what it said, for a human.
        stdout: what it printed, for a program.
    """

    def __init__(self, message: str, output: str = "", stdout: bytes = b"") -> None:
        super().__init__(message)
        self.output, self.stdout = output, stdout


def environment(
    settings: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the whole environment of a git command.

    Args:
        settings: configuration on top of `SETTINGS`, by name.
        variables: more variables, which win.
    """
    env = {name: os.environ[name] for name in _PASSED if name in os.environ} | _ALWAYS
    env["HOME"] = os.devnull  # no .netrc, no XDG folder
    if bundle := os.environ.get("SSL_CERT_FILE"):
        env.setdefault("GIT_SSL_CAINFO", bundle)
    told = {**SETTINGS, **(settings or {})}
    env["GIT_CONFIG_COUNT"] = str(len(told))
    for number, (name, value) in enumerate(told.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return env | dict(variables or {})


def receiving() -> dict[str, str]:
    """Return the environment for git in a hook: what is being received is found, nothing else is taken over.

    See githooks(5), "pre-receive", about the quarantine.
    """
    passed = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
    return environment(variables={name: os.environ[name] for name in passed if name in os.environ})


def git(
    arguments: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    stdin: bytes = b"",
    accept: tuple[int, ...] = (0,),
    memory: int = 0,
) -> subprocess.CompletedProcess[bytes]:
    """Run one git command to its end; when its time is over, all that it started ends too.

    Args:
        arguments: without ``git``.
        folder: where; a bare repository.
        env: whole environment; `environment()` by default.
        timeout: seconds.
        stdin: what it reads.
        accept: exit statuses that are no failure.
        memory: bytes of addresses that it, and each program that it starts, may use; 0 for what this process may.

    Raises:
        GitFailed: another exit status, no git on this host, or the time is over.
    """
    command = ["git", *arguments]
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(env or environment()), start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise GitFailed(f"cannot run git: {error.strerror}") from None
    with process:
        try:
            if memory:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))
            out, err = process.communicate(stdin, timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise GitFailed(f"git {arguments[0]} took more than {timeout:g} s") from None
            raise
    if process.returncode not in accept:
        raise GitFailed(f"git {arguments[0]} failed", err.decode("utf-8", "replace"), out)
    return subprocess.CompletedProcess(command, process.returncode, out, err)
