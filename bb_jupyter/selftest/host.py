"""P3 and P6: host files, processes and privileges are out of reach, and a command that ends leaves no process."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bb_jupyter.errors import BottleError
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.selftest.probe import Broken, NotRun, Probe, promise

_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock")
_LOOK = 'for path; do if [ -e "$path" ]; then printf "%s\\n" "$path"; fi; done; cat "$1" 2>/dev/null; :'
_ARGUMENTS = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
_PLANT = 'folder=$(mktemp -d -p "$HOME") && ln -s "$1" "$folder/link" && ln -s "$2" "$folder/up" && echo "$folder"'
_CAPABILITIES: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@promise("P3")
def host_files(probe: Probe) -> str:
    """No file of the host is visible: neither this process's files, nor its home, nor an engine's socket.

    Broken elsewhere: mounted homes and engine sockets, which make every other restriction pointless.
    """
    word = secrets.token_hex(8)
    with tempfile.NamedTemporaryFile(prefix=f"bb-selftest-{word}-") as canary:
        canary.write(word.encode())
        canary.flush()
        home = Path.home()
        paths = (canary.name, str(home / ".ssh"), str(home / ".bot-bottle"), str(bot_bottle_home()), *_SOCKETS)
        seen = probe.text(_LOOK, *paths)
    if seen.strip():
        raise Broken(f"the bottle sees {seen.splitlines()[0]}")
    return f"{len(paths)} places, none is there"


@promise("P3")
def copies_out(probe: Probe) -> str:
    """A link that the bottle plants is not followed when files are copied out.

    Broken elsewhere: CVE-2018-15664, CVE-2026-39861 (a link swapped in while or before the host copies).
    """
    word = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="bb-selftest-") as folder:
        secret, target = Path(folder, "secret"), Path(folder, "copied")
        secret.write_text(word)
        made = probe.sh(_PLANT, str(secret), folder)
        planted = made.stdout.decode("utf-8", "replace").strip()
        if made.returncode or not planted:
            raise NotRun("the bottle cannot make a folder with a link")
        try:
            with contextlib.suppress(BottleError):  # refusing the whole copy is right, too
                probe.handle.cp_out(planted, target)
        finally:
            probe.sh('rm -rf "$1"', planted)
        for path in (target, *target.rglob("*")):
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(target))
            if os.path.lexists(path) and not inside:
                raise Broken(f"a planted link leads out of the copy: {path.name}")
    return f"links planted in {posixpath.dirname(planted)} stayed inside or were refused"


@promise("P3")
def processes_of_the_host(probe: Probe) -> str:
    """The bottle has a process tree of its own: no process of this host is visible.

    Broken elsewhere: shared process namespaces, through which /proc/PID/root is the host.
    """
    word = f"bb-selftest-{secrets.token_hex(8)}"
    argv = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()", word]
    with subprocess.Popen(argv, stdin=subprocess.PIPE):
        seen = probe.text(_ARGUMENTS)
    if not seen.strip():
        raise NotRun("the bottle has no /proc")
    if word in seen:
        raise Broken("the bottle sees the processes of this host")
    return "a process of this host is not among those in the bottle"


@promise("P3")
def privileges(probe: Probe) -> str:
    """Commands have no capability, cannot gain one, and run under a system call filter.

    Broken elsewhere: CVE-2019-5736 and most escapes since, which need root or a capability inside.
    """
    lines = probe.text("cat /proc/self/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    if not status:
        raise NotRun("the bottle has no /proc")
    capabilities = [name for name in _CAPABILITIES if int(status.get(name, "0"), 16)]
    if capabilities:
        raise Broken(f"{capabilities[0]} is {status[capabilities[0]]}")
    if status.get("NoNewPrivs") != "1":
        raise Broken("no_new_privs is not set")
    if status.get("Seccomp", "2") != "2":
        raise Broken("there is no system call filter")
    return "no capability, no_new_privs, seccomp"


@promise("P6")
def ended_commands(probe: Probe) -> str:
    """A command that exceeds its time limit is killed with all its children, and the bottle runs on.

    Broken elsewhere: inspect_ai #3663 (children of a command that timed out ran on).
    """
    mark = str(100000 + secrets.randbelow(800000))
    script = 'trap "" TERM; (sleep "$1" & sleep "$1") & echo ready; wait'
    done = probe.handle.exec(["sh", "-c", script, "sh", mark], timeout=1.0).wait()
    if not done.timed_out:
        raise Broken(f"a command of 1 s ended with {done.returncode} after {done.duration:.1f} s")
    left = probe.text(_ARGUMENTS)
    if f"sleep {mark}" in left:
        raise Broken("a child of a command that timed out runs on")
    return f"gone after {done.duration:.1f} s, its children too"
