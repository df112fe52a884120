"""P2: no secret of the host is in the bottle, nor in anything that is shown or stored about it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bb_jupyter.errors import BottleError
from bb_jupyter.gateway.proxy.redact import Masker
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.manifest import resolve_token
from bb_jupyter.selftest.probe import Broken, NotRun, Probe, promise

if TYPE_CHECKING:
    from bb_jupyter.backend.execution import Execution

#: Variables of this process that commonly hold credentials.
_SECRET_NAME: Final = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_SHORTEST: Final = 8
#: More bytes than any encoding of a secret has; so many are searched again with the next chunk.
_OVERLAP: Final = 1 << 14
#: Most bytes of the bottle's files that are read.
_MOST: Final = 64 << 20
_SECONDS: Final = 60.0
_PROCESSES = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; :"
_FILES = 'for folder in "$HOME" /tmp /run /etc /opt; do find "$folder" -xdev -type f -size -2048k -exec cat {} + ; done 2>/dev/null; :'  # noqa: E501
_FILE_NAMES = 'find "$HOME" /tmp /run -xdev 2>/dev/null; :'


@promise("P2")
def environment(probe: Probe) -> str:
    """No variable and no argument of any process in the bottle holds a secret of the host.

    Broken elsewhere: vercel/eve #600 (credentials in the sandbox's environment).
    """
    return _nothing_in(probe, _PROCESSES, "the environment or arguments of a process in the bottle")


@promise("P2")
def files(probe: Probe) -> str:
    """No file of the bottle (home, /tmp, /etc, /run, /opt) holds a secret of the host.

    Broken elsewhere: tokens written into dotfiles, remote URLs and tool settings while provisioning.
    """
    return _nothing_in(probe, f"{_FILE_NAMES}; {_FILES}", "a file of the bottle")


@promise("P2")
def preflight(probe: Probe) -> str:
    """The preflight, as text, as HTML and as Python shows it, names where secrets are kept and holds none.

    Broken elsewhere: plans and reprs that end up in saved notebooks.
    """
    masker = _masker(probe)
    bottle = probe.handle.bottle
    shown = (bottle.plan.text(), bottle.plan._repr_html_(), repr(bottle.plan), repr(probe.handle), repr(bottle.network))
    if any(masker.finds(text.encode()) for text in (*shown, repr(bottle.network.routes))):
        raise Broken("the plan shows a secret")
    return f"{len(shown) + 1} renderings"


@promise("P2")
def records(probe: Probe) -> str:
    """The bottle's state, audit log and cell logs, which outlive it, hold no secret.

    Broken elsewhere: debug logs and audit trails with whole headers.
    """
    masker = _masker(probe)
    home, slug = bot_bottle_home(), probe.handle.plan.slug
    paths = [path for folder in ("state", "audit", "logs") for path in (home / folder).rglob("*") if path.is_file()]
    for path in (path for path in paths if slug in str(path.relative_to(home))):
        with path.open("rb") as file:
            if _is_in(iter(lambda: file.read(1 << 20), b""), masker):
                raise Broken(f"{path} holds a secret")
    return f"files of {slug} below {home}"


@promise("P2")
def host_processes(probe: Probe) -> str:
    """While a command runs in the bottle, no child of this process shows a secret to `ps`.

    Broken elsewhere: harbor #2235 (`-e TOKEN=value` on the command line of the engine's client).
    """
    masker = _masker(probe)
    if not Path("/proc/self/cmdline").exists():
        raise NotRun("this host has no /proc")
    with probe.handle.exec(["sh", "-c", "echo ready; exec sleep 60"]) as running:
        _first_output(running)
        seen = [pid for pid in _descendants() if masker.finds(_arguments(pid))]
    if seen:
        raise Broken(f"process {seen[0]} has a secret in its arguments")
    return "the arguments of every process below this one"


def secrets_of(probe: Probe) -> list[str]:
    """Return the secrets to search for: the credentials of the bottle's routes, and variables named like secrets."""
    routes = probe.handle.bottle.network.routes
    found = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    for reference in routes.token_refs if routes else ():
        with contextlib.suppress(BottleError):  # the variable was unset meanwhile
            found.append(resolve_token(reference))
    given = set(probe.handle.plan.spec.env.values())  # the user passed these in, and the preflight shows them
    return list(dict.fromkeys(value for value in found if len(value) >= _SHORTEST and value not in given))


def _masker(probe: Probe) -> Masker:
    return Masker([*secrets_of(probe), probe.canary.secret])


def _nothing_in(probe: Probe, script: str, place: str) -> str:
    """Search a script's output for secrets on this host, so that no secret is sent into the bottle."""
    masker = _masker(probe)
    with probe.handle.exec(["sh", "-c", script], timeout=_SECONDS) as execution:
        if _is_in(_output(execution), masker):
            raise Broken(f"{place} holds a secret of the host")
    return "no secret of the host, in any common encoding"


def _output(execution: Execution) -> Iterator[bytes]:
    size = 0
    for chunk in execution:
        yield chunk.data
        size += len(chunk.data)
        if size > _MOST:
            return


def _is_in(chunks: Iterable[bytes], masker: Masker) -> bool:
    before = b""
    for chunk in chunks:
        data = before + chunk
        if masker.finds(data):
            return True
        before = data[-_OVERLAP:]
    return False


def _first_output(execution: Execution) -> None:
    while execution.running and not execution.poll(_SECONDS):
        pass


def _descendants() -> list[int]:
    """Return the pids of all processes below this one (proc(5), `stat`)."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    below, fresh = set[int](), {os.getpid()}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - below
        below |= fresh
    return sorted(below)


def _arguments(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
