"""PID 1 of a bubblewrap bottle: starts commands, kills them and reaps all processes.

It runs inside the sandbox as `python -I -S guest.pyc CONTROL OWNER LIMITS UID`, and first becomes UID unless that is
empty.  CONTROL is a SEQPACKET socket to the host, OWNER a descriptor of the process that the bottle belongs to
(pidfd_open(2); empty if the kernel has none).  When the host's end of the socket closes or the owner dies, this process
ends, and the kernel then ends every other process of the sandbox.  LIMITS are those of setrlimit(2), `NUMBER=VALUE,…`.
Each message from the host is one marshalled dict:

    {"op": "exec", "id": N}  with fds: request, stdout, stderr, status[, stdin].  The request is a file that holds
        {"argv": […], "env": {…}, "cwd": "…"}; the exit status is written to `status` as a decimal line.
    {"op": "kill", "id": N}  SIGKILL to every process of that command's session.
    {"op": "listen", "ports": […]}  answered by one byte, with one listening socket of 127.0.0.1 per port; by "0" and
        none when a port is taken.

It sends one byte when it is ready.  The host trusts nothing that it sends.

Every launch waits for this program, mostly for its imports, so it uses only modules that are written in C.  (json,
signal, socket and ctypes import re and enum, array imports collections, os imports abc: more than 10 ms together.)
For the same reason it reads /proc with lines of its own and not by `bb_jupyter.process.procfs`.
"""

import _ctypes
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import errno
import marshal
import posix
import select
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
# capset(2): a header with version 3 that means the caller, and three empty sets of 64 bits.
_OWN_CAPABILITIES, _NONE = (0x20080522).to_bytes(4, sys.byteorder) + bytes(4), bytes(24)
_INT, _MAX_FDS, _NO_FD = 4, 5, 1 << 20
# Signals that Python ignores; other programs expect their default action.
_SIGNALS = (signal.SIGPIPE, signal.SIGINT)
# Commands are the first to go when memory runs out, this process the last.
_OOM_SCORE_OF_COMMANDS = b"700"
# Processes that are reaped before the next message of the host is read, however many are dying.
_REAPED_AT_ONCE = 1000
_LIBC = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


class Guest:
    """The running commands, and the loop that serves the host."""

    def __init__(self, control: socket.socket, owner: int | None) -> None:
        self.control = control
        self.owner = owner
        self.running: dict[int, tuple[int, int]] = {}  # pid -> (id, status fd)
        # Opened early: once undumpable, a process may not open its own files in /proc.
        self.oom_score = posix.open("/proc/self/oom_score_adj", posix.O_RDWR | posix.O_CLOEXEC)

    def serve(self) -> None:
        """Answer the host until it hangs up."""
        wake_read, wake_write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        if self.owner is not None:
            poll.register(self.owner, select.POLLIN)
        self.control.send(b"1")
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self.owner in ready:
                return
            if wake_read in ready:
                posix.read(wake_read, 4096)
            if not self.reap():  # before a new command: the dead count as processes until they are collected
                posix.write(wake_write, b"1")
            if self.control.fileno() in ready and not self.one_message():
                return

    def one_message(self) -> bool:
        """Serve one message; false when the host has hung up."""
        data, fds = receive(self.control)
        if not data:
            return False
        message = marshal.loads(data)
        try:
            if message["op"] == "exec":
                self.start(message["id"], fds)
            elif message["op"] == "kill":
                self.kill(message["id"])
            elif message["op"] == "listen":
                self.listen(message["ports"])
        finally:
            for fd in fds:
                posix.close(fd)
        return True

    def start(self, ident: int, fds: list[int]) -> None:
        """Start a command; if that fails, the reason goes to its standard error."""
        if len(fds) < _MAX_FDS:
            fds.append(posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC))
        request_fd, stdout, stderr, status, stdin = fds
        with open(request_fd, "rb", closefd=False) as file:
            request = marshal.loads(file.read())
        posix.pwrite(self.oom_score, _OOM_SCORE_OF_COMMANDS, 0)
        try:
            posix.chdir(request["cwd"])
            pid = spawn(request["argv"], request["env"], (stdin, stdout, stderr))
            self.running[pid] = (ident, posix.dup(status))
        except (OSError, ValueError) as error:
            write(stderr, complaint(error, request["argv"][0]))
            write(status, b"127\n" if getattr(error, "errno", 0) == errno.ENOENT else b"126\n")
        finally:
            posix.pwrite(self.oom_score, b"0", 0)

    def reap(self) -> bool:
        """Reap ended processes, orphans too, and report the commands among them; false: some are left."""
        for _ in range(_REAPED_AT_ONCE):
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return True
            if pid in self.running:
                _, fd = self.running.pop(pid)
                code = posix.waitstatus_to_exitcode(status)
                write(fd, b"%d\n" % (code if code >= 0 else 128 - code))
                posix.close(fd)
        return False

    def kill(self, ident: int) -> None:
        """Kill a command and all that it started; stop all of them first, so that none starts another process."""
        for leader in [pid for pid, (known, _) in self.running.items() if known == ident]:
            stopped: set[int] = set()
            while fresh := family_of({leader, *stopped}) - stopped:
                signal_all(fresh, signal.SIGSTOP)
                stopped |= fresh
            signal_all(stopped, signal.SIGKILL)

    def listen(self, ports: list[int]) -> None:
        """Bind ports of the bottle's own loopback and send the sockets to the host; none if a port is taken."""
        sockets = []
        try:
            for port in ports:
                sockets.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets[-1].bind(("127.0.0.1", port))
                sockets[-1].listen(512)
            rights = b"".join(listener.fileno().to_bytes(_INT, sys.byteorder) for listener in sockets)
            self.control.sendmsg([b"1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:
            self.control.send(b"0")
        finally:
            for listener in sockets:
                listener.close()


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Return one message and its descriptors; no command inherits these."""
    room = socket.CMSG_SPACE(_MAX_FDS * _INT)
    data, ancillary, _, _ = control.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
    return data, [fd for _, _, rights in ancillary for fd in memoryview(rights).cast("i")]


def spawn(argv: list[str], env: dict[str, str], streams: tuple[int, int, int]) -> int:
    """Start a program as the leader of a session of its own, found by the PATH of its own environment."""
    program = argv[0]
    paths = (
        [program]
        if "/" in program
        else [f"{folder}/{program}" for folder in env.get("PATH", "/usr/bin:/bin").split(":")]
    )
    actions = [(posix.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(streams)]
    failure: OSError = FileNotFoundError(errno.ENOENT, posix.strerror(errno.ENOENT), program)
    for path in paths:
        try:
            return posix.posix_spawn(path, argv, env, file_actions=actions, setsid=True, setsigdef=_SIGNALS)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            failure = error  # a later folder may have an executable one
    raise failure


def complaint(error: Exception, program: str) -> bytes:
    """Return a line that says why a command could not be started."""
    if isinstance(error, BlockingIOError):
        return b"cannot start: the bottle has too many processes\n"
    if isinstance(error, OSError):
        return f"{error.filename or program}: {error.strerror}\n".encode("utf-8", "backslashreplace")
    return f"{error}\n".encode("utf-8", "backslashreplace")


def write(fd: int, data: bytes) -> None:
    """Write to the host; no error if it has closed its end."""
    try:
        posix.write(fd, data)
    except OSError:
        pass


def family_of(known: set[int]) -> set[int]:
    """Return the pids of living processes that are of the session or group of a known one, or descend from it."""
    relatives = {}
    for name in posix.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        # The command name is in parentheses and may hold anything; state, parent, group and session follow.
        state, *others = stat[stat.rindex(b")") + 2 :].split()[:4]
        if state not in b"ZX":
            relatives[int(name)] = {int(name), *map(int, others)}
    found: set[int] = set()
    while fresh := {pid for pid in relatives.keys() - found if relatives[pid] & known}:
        found |= fresh
        known = known | fresh
    return found


def signal_all(pids: set[int], number: int) -> None:
    """Send a signal to processes, some of which may be gone."""
    for pid in pids:
        try:
            posix.kill(pid, number)
        except OSError:
            pass  # it ended by itself


def limit(limits: str) -> None:
    """Apply the limits that the host chose, soft and hard."""
    for item in filter(None, limits.split(",")):
        number, value = map(int, item.split("="))
        if call("setrlimit", number, value.to_bytes(8, sys.byteorder) * 2):
            raise OSError("cannot set a limit")


def become(uid: int) -> None:
    """Become the agent, whose uid the host has mapped, irrevocably: root of this sandbox is root of the host."""
    posix.chown(posix.getcwd(), uid, uid)
    capability = 0
    while call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    posix.setgroups([])
    posix.setresgid(uid, uid, uid)
    posix.setresuid(uid, uid, uid)
    if call("capset", _OWN_CAPABILITIES, _NONE):
        raise OSError("cannot give up capabilities")


def protect() -> None:
    """Prevent ptrace of this process and access to its memory and descriptors; end when bwrap ends."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def call(name: str, *arguments: int | bytes) -> int:
    """Call a function of the C library."""
    result: int = _ctypes.call_cdeclfunction(_ctypes.dlsym(_LIBC, name), arguments)
    return result


def main() -> None:
    """Run as PID 1 until the host hangs up or dies."""
    control, owner = (int(word) if word else None for word in sys.argv[1:3])
    limits, uid = sys.argv[3:]
    keep_only(control, owner)
    guest = Guest(socket.socket(fileno=control), owner)
    if uid:
        become(int(uid))
    limit(limits)
    protect()
    guest.serve()


def keep_only(*fds: int | None) -> None:
    """Close every other descriptor, such as the one that bwrap waited for; commands inherit none."""
    first = 3
    for fd in sorted(fd for fd in fds if fd is not None):
        posix.closerange(first, fd)
        posix.set_inheritable(fd, False)
        first = fd + 1
    posix.closerange(first, _NO_FD)


if __name__ == "__main__":
    main()
