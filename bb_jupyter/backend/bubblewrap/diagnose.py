"""The checks of `%bottle doctor` for the embedded backend."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.bubblewrap import bwrap, cgroup, sandbox, seccomp
from bb_jupyter.errors import BackendUnavailable


def diagnose() -> list[Check]:
    """Look at bwrap, user namespaces, limits and the system call filter."""
    return list(_checks())


def _checks() -> Iterator[Check]:
    try:
        path, version = bwrap.find()
    except BackendUnavailable as error:
        yield Check("bubblewrap", "failed", error.message, error.hint)
        return
    yield Check("bubblewrap", "ok", f"version {version}, {path}")
    yield _sandbox()
    parents = cgroup.parents()
    if parents:
        names = ", ".join(sorted(parents.folders))
        yield Check("limits", "ok", f"cgroup v{parents.version}: {names}")
    else:
        fix = "start Jupyter by `systemd-run --user --scope jupyter lab` for limits on the whole bottle"
        yield Check("limits", "warning", "no control group can be made: limits apply to each process alone", fix)
    if seccomp.supported():
        yield Check("seccomp", "ok", "system calls are filtered")
    else:
        yield Check("seccomp", "warning", "there is no system call filter for this processor")


def _sandbox() -> Check:
    closed = bwrap.closed()
    if closed:
        return Check("user namespaces", "failed", closed.reason, closed.fix)
    done = subprocess.run(sandbox.trial(), capture_output=True, text=True, errors="replace", timeout=30, check=False)
    if done.returncode:
        complaint = done.stderr.strip() or f"bwrap ended with {done.returncode}"
        fix = "in a container, start that with `--security-opt seccomp=unconfined`; elsewhere see the message"
        return Check("user namespaces", "failed", complaint.splitlines()[-1], fix)
    return Check("user namespaces", "ok", "a trial sandbox started")
