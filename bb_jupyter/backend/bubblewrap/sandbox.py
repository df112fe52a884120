"""The command line of bwrap, and the files that bwrap copies into the sandbox.

bwrap reads the whole mount table again for each bind mount.  So single files are not bound but copied into the root
of the sandbox, which becomes read-only in the end.
"""

from __future__ import annotations

import itertools
import marshal
import os
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import MAGIC_NUMBER
from pathlib import Path, PurePosixPath

from bb_jupyter.agent.provision_plan import HostBind
from bb_jupyter.backend.bubblewrap import bwrap
from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID

_HERE = Path(__file__).parent
#: Parts of the host's /etc that programs need and that reveal nothing about the host.
_ETC = tuple(
    Path("/etc", name)
    for name in (
        "alternatives", "ca-certificates", "debian_version", "fonts", "gai.conf", "inputrc", "ld.so.cache",
        "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "os-release", "pki/ca-trust", "pki/tls/certs",
        "protocols", "services", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
    )
)  # fmt: skip
#: Machine-wide settings below /usr; administrators keep tokens of package registries there (npm, pip).
_SETTINGS = tuple(
    Path("/usr", name)
    for name in (
        "etc", "local/etc", "pip.conf", "local/pip.conf", "lib/node_modules/npm/npmrc",
        "local/lib/node_modules/npm/npmrc",
    )
)  # fmt: skip
#: Parts that an interpreter needs of its prefix outside /usr; never etc, var or share, which may hold secrets.
_PREFIX_PARTS = ("bin", "lib", "lib64", "libexec", "ssl")
#: Parts of /proc that describe the whole machine: read-only or hidden, as in Docker.  For an agent that is not root on
#: the host, only the files that everybody may read need hiding, and `sys` and `pressure` need to be read-only.
_PROC_READ_ONLY, _PROC_OF_ROOT = ("sys", "pressure"), ("bus", "fs", "irq", "sysrq-trigger", "driver", "tty")
_PROC_HIDDEN = (
    "acpi", "asound", "interrupts", "kallsyms", "kcore", "keys", "kmsg", "latency_stats", "mtrr", "sched_debug", "scsi",
    "slabinfo", "timer_list", "timer_stats", "vmallocinfo",
)  # fmt: skip
#: A folder with at most so many files is copied, not mounted.
_FEW = 8
#: Size of /dev/shm in bytes: what Docker gives by default.
_SHM_SIZE = 64 << 20

#: One step of bwrap: an option and its arguments.
_Step = tuple[str, ...]

_NAMESPACES: tuple[_Step, ...] = (("--unshare-all",), ("--unshare-user",))
#: The first process of the sandbox runs as the agent, which bwrap maps to the user of this process.
_OWN_USER: tuple[_Step, ...] = (("--disable-userns",), ("--uid", str(GUEST_UID)), ("--gid", str(GUEST_UID)))
#: Capabilities that guest.py needs to become the agent if this process maps the users; guest.py then drops them.
_BECOMING = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN")


def trial() -> list[str]:
    """Return the command line of a sandbox that does nothing."""
    usr = ("--ro-bind", "/usr", "/usr")
    return _command(*_NAMESPACES, *_OWN_USER, usr, *_merged_usr(), ("--proc", "/proc"), ("true",))


def command(
    hostname: str,
    *,
    disk: int | None,
    files: dict[str, int],
    control: int,
    owner: int | None,
    info: int,
    seccomp: int | None,
    rlimits: dict[int, int],
    binds: Iterable[HostBind] = (),
    mapped: int | None = None,
) -> list[str]:
    """Return the whole command line of a bottle.

    Args:
        hostname: of the bottle.
        disk: size in bytes of the home, and of /tmp; `None` for the kernel's default (half of the memory).
        files: path in the bottle → descriptor of the file that is copied there: `host_files` and `guest_program`.
        control: descriptor of the guest's end of the control socket.
        owner: descriptor of the process with which the bottle ends (a pidfd); `None` where the kernel has none.
        info: descriptor to which bwrap writes the pid of the sandbox's PID 1, as JSON.
        seccomp: descriptor of the compiled filter; `None` for none.
        rlimits: limits that guest.py sets for itself and all commands: number → value.
        binds: further paths of this host that the bottle sees, read-only.
        mapped: descriptor; bwrap waits for its end-of-file.  By then this process has mapped the users, and guest.py
            becomes the agent.  `None`: bwrap maps the agent to the user of this process.
    """
    mounts = [*_programs(), *_etc(), *(_bound(bind) for bind in binds)]
    limits = ",".join(f"{number}={value}" for number, value in rlimits.items())
    arguments = (str(control), "" if owner is None else str(owner), limits, "" if mapped is None else str(GUEST_UID))
    return _command(
        *_NAMESPACES,
        *_user(mapped),
        ("--new-session", "--as-pid-1", "--clearenv", "--hostname", hostname),
        *_parent_folders((*(step[-1] for step in mounts), *files)),
        *mounts,
        *(("--perms", "0644", "--file", str(fd), target) for target, fd in files.items()),
        *_proc(as_root=mapped is None and os.geteuid() == 0),
        *_writable(disk),
        ("--chdir", GUEST_HOME, "--info-fd", str(info)),
        *([] if seccomp is None else [("--seccomp", str(seccomp))]),
        ("--", str(bwrap.guest_python()), "-I", "-S", guest_program()[0], *arguments),
    )


def host_files() -> Iterator[tuple[str, str]]:
    """Yield (path in the bottle, path on this host) of each file that is copied."""
    for path in _ETC:
        if path.is_file():
            yield str(path), str(path)
        elif path.is_dir():
            yield from ((str(file), str(file)) for file in _few_files(path))
    for path in (_HERE / "etc").iterdir():
        yield f"/etc/{path.name}", str(path)


@cache
def guest_program() -> tuple[str, bytes]:
    """Return the path of guest.py in the sandbox and its content, compiled if the interpreter is the same as here."""
    source = (_HERE / "guest.py").read_bytes()
    if bwrap.guest_python() != bwrap.own_python():
        return "/opt/bb_jupyter/guest.py", source
    code = compile(source, "guest.py", "exec", dont_inherit=True)
    return "/opt/bb_jupyter/guest.pyc", MAGIC_NUMBER + bytes(12) + marshal.dumps(code)  # the header of PEP 552, empty


def _command(*steps: _Step) -> list[str]:
    return [str(bwrap.find()[0]), *(word for step in steps for word in step)]


def _user(mapped: int | None) -> list[_Step]:
    if mapped is None:
        return [*_OWN_USER, ("--cap-drop", "ALL")]
    added = [("--cap-add", name) for name in _BECOMING]
    return [("--userns-block-fd", str(mapped)), ("--cap-drop", "ALL"), *added]


@cache
def _parent_folders(targets: tuple[str, ...]) -> list[_Step]:
    """Create the parent directories of mounts with mode 0755; bwrap would use 0700."""
    folders = {str(folder) for target in targets for folder in PurePosixPath(target).parents}
    return [("--dir", folder) for folder in sorted(folders - {"/"})]


def _programs() -> Iterator[_Step]:
    yield "--ro-bind", "/usr", "/usr"
    yield from _merged_usr()
    yield from _without(path for path in _SETTINGS if path.exists())
    python = bwrap.guest_python()
    if not python.is_relative_to("/usr"):
        for part in (python.parent.parent / name for name in _PREFIX_PARTS):
            if part.is_dir():
                yield _read_only(part)


@cache
def _merged_usr() -> tuple[_Step, ...]:
    """Return /bin, /lib and the like as they are on this host: links into /usr, or directories."""
    folders = map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"))
    return tuple(
        ("--symlink", str(folder.readlink()), str(folder)) if folder.is_symlink() else _read_only(folder)
        for folder in folders
        if folder.is_dir()
    )


def _etc() -> list[_Step]:
    return [_read_only(path) for path in _ETC if path.is_dir() and not _few_files(path)]


def _few_files(folder: Path) -> list[Path]:
    """Return the entries of a folder that has only files and at most `_FEW`; empty for any other folder."""
    found = list(itertools.islice(folder.iterdir(), _FEW + 1))
    return found if len(found) <= _FEW and all(path.is_file() for path in found) else []


def _bound(bind: HostBind) -> _Step:
    return ("--symlink" if bind.link else "--ro-bind", bind.source, bind.target)


@cache
def _proc(*, as_root: bool) -> tuple[_Step, ...]:
    read_only = [Path("/proc", name) for name in (*_PROC_READ_ONLY, *(_PROC_OF_ROOT if as_root else ()))]
    hidden = [path for path in (Path("/proc", name) for name in _PROC_HIDDEN) if path.exists()]
    return (
        ("--proc", "/proc"),
        *(_read_only(path) for path in read_only if path.exists()),
        *_without(path for path in hidden if as_root or path.stat().st_mode & stat.S_IROTH),
    )


def _read_only(path: Path) -> _Step:
    return "--ro-bind", str(path), str(path)


def _without(paths: Iterable[Path]) -> Iterator[_Step]:
    """Cover files and folders with empty ones."""
    for path in paths:
        if path.is_dir():
            yield from (("--tmpfs", str(path)), ("--remount-ro", str(path)))
        else:
            yield "--ro-bind", "/dev/null", str(path)


def _writable(disk: int | None) -> Iterator[_Step]:
    """Mount what the agent can write to (devices, shared memory, /tmp, its home); then make the root read-only."""
    size = ("--size", str(disk)) if disk else ()
    yield "--dev", "/dev"
    yield "--perms", "1777", "--size", str(_SHM_SIZE), "--tmpfs", "/dev/shm"  # noqa: S108
    yield "--remount-ro", "/dev"
    yield "--perms", "1777", *size, "--tmpfs", "/tmp"  # noqa: S108
    yield "--dir", "/run", "--dir", "/var", "--symlink", "../tmp", "/var/tmp"  # noqa: S108
    yield "--dir", "/home", "--perms", "0700", *size, "--tmpfs", GUEST_HOME
    yield "--remount-ro", "/"
