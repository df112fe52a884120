"""PID 1 of a bubblewrap bottle: starts commands, kills them, reaps everything; the standard library only.

It runs inside the sandbox as `python -I -S guest.py FD LIMITS UID`, and first becomes UID unless that is empty.  FD is
a SEQPACKET socket to the host; when the host's end closes, this process ends and the kernel ends everything else with
it.  Messages from the host are one marshalled dict each:

    {"op": "exec", "id": N}  with fds: request, stdout, stderr, status[, stdin].  The request is a file that holds
        {"argv": […], "env": {…}, "cwd": "…"}; the exit status is written to `status` as a decimal line.
    {"op": "kill", "id": N}  SIGKILL to every process of that command's session.
    {"op": "listen", "ports": […]}  answered by one byte, with one listening socket of 127.0.0.1 per port; by "0" and
        none when a port is taken.

It sends one byte when it is ready.  The host believes none of what it says.

Every launch waits for this program, and most of that is imports: it makes do with the modules that are written in C
(json, signal, socket and ctypes bring re and enum, 16 ms of the 40 that a launch took with them).
"""

import _ctypes
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import array
import errno
import marshal
import os
import resource
import select
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
# capset(2): a header with version 3 that means the caller, and three empty sets of 64 bits.
_OWN_CAPABILITIES, _NONE = (0x20080522).to_bytes(4, sys.byteorder) + bytes(4), bytes(24)
_MAX_FDS, _NO_FD = 5, 1 << 20
# Signals that Python ignores and a program expects to end it.
_SIGNALS = (signal.SIGPIPE, signal.SIGINT)
# Commands are the first to go when memory runs out, this process the last.
_OOM_SCORE_OF_COMMANDS = b"700"


class Guest:
    """The commands that run, and the loop that serves the host."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.running: dict[int, tuple[int, int]] = {}  # pid -> (id, status fd)
        # Opened while it still belongs to us: an undumpable process may not open its own /proc files.
        self.oom_score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)

    def serve(self) -> None:
        """Answer the host until it hangs up."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        self.control.send(b"1")
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if wake_read in ready:
                os.read(wake_read, 4096)
            self.reap()  # before a new command: the dead count as processes until they are collected
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
                os.close(fd)
        return True

    def start(self, ident: int, fds: list[int]) -> None:
        """Start a command; what hinders it is said on its standard error."""
        if len(fds) < _MAX_FDS:
            fds.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        request_fd, stdout, stderr, status, stdin = fds
        with open(request_fd, "rb", closefd=False) as file:
            request = marshal.loads(file.read())
        os.pwrite(self.oom_score, _OOM_SCORE_OF_COMMANDS, 0)
        try:
            os.chdir(request["cwd"])
            pid = spawn(request["argv"], request["env"], (stdin, stdout, stderr))
            self.running[pid] = (ident, os.dup(status))
        except (OSError, ValueError) as error:
            write(stderr, complaint(error, request["argv"][0]))
            write(status, b"127\n" if getattr(error, "errno", 0) == errno.ENOENT else b"126\n")
        finally:
            os.pwrite(self.oom_score, b"0", 0)

    def reap(self) -> None:
        """Collect every process that ended, the orphans of commands too, and report those of the host."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.running:
                _, fd = self.running.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                write(fd, b"%d\n" % (code if code >= 0 else 128 - code))
                os.close(fd)

    def kill(self, ident: int) -> None:
        """Kill a command and all it started: stop all of it first, as what is stopped starts no more processes."""
        for leader in [pid for pid, (known, _) in self.running.items() if known == ident]:
            stopped: set[int] = set()
            while fresh := family_of({leader, *stopped}) - stopped:
                signal_all(fresh, signal.SIGSTOP)
                stopped |= fresh
            signal_all(stopped, signal.SIGKILL)

    def listen(self, ports: list[int]) -> None:
        """Bind ports of the bottle's own loopback and pass the sockets out; none if a command holds one of them."""
        sockets = []
        try:
            for port in ports:
                sockets.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets[-1].bind(("127.0.0.1", port))
                sockets[-1].listen(512)
            rights = array.array("i", [listener.fileno() for listener in sockets])
            self.control.sendmsg([b"1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:
            self.control.send(b"0")
        finally:
            for listener in sockets:
                listener.close()


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Return one message and the descriptors that came with it; no program that is started inherits those."""
    room = socket.CMSG_SPACE(_MAX_FDS * 4)
    data, ancillary, _, _ = control.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for _, _, rights in ancillary:
        fds.frombytes(rights)
    return data, list(fds)


def spawn(argv: list[str], env: dict[str, str], streams: tuple[int, int, int]) -> int:
    """Start a program as the leader of a session of its own, found by the PATH of its own environment."""
    program = argv[0]
    paths = [program] if "/" in program else [f"{folder}/{program}" for folder in os.get_exec_path(env)]
    actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(streams)]
    failure: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    for path in paths:
        try:
            return os.posix_spawn(path, argv, env, file_actions=actions, setsid=True, setsigdef=_SIGNALS)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            failure = error  # perhaps a later folder has one that can be run
    raise failure


def complaint(error: Exception, program: str) -> bytes:
    """Say in a line why a command could not be started."""
    if isinstance(error, BlockingIOError):
        return b"cannot start: the bottle has too many processes\n"
    if isinstance(error, OSError):
        return f"{error.filename or program}: {error.strerror}\n".encode("utf-8", "backslashreplace")
    return f"{error}\n".encode("utf-8", "backslashreplace")


def write(fd: int, data: bytes) -> None:
    """Write to the host, which may have let the command go."""
    try:
        os.write(fd, data)
    except OSError:
        pass


def family_of(known: set[int]) -> set[int]:
    """Return the pids of living processes that are of the session or group of a known one, or descend from it."""
    relatives = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        # The command name is in parentheses and may hold anything; after it: state, parent, group, session.
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
            os.kill(pid, number)
        except OSError:
            pass  # it ended by itself


def limit(limits: str) -> None:
    """Apply the rlimits that the host chose, hard and soft: `RLIMIT_CORE=0,RLIMIT_NPROC=512`."""
    for item in filter(None, limits.split(",")):
        name, value = item.split("=")
        resource.setrlimit(getattr(resource, name), (int(value), int(value)))


def become(uid: int) -> None:
    """Become the agent, whom the host has mapped, for ever: root of this sandbox is root of the host."""
    os.chown(os.getcwd(), uid, uid)
    capability = 0
    while call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if call("capset", _OWN_CAPABILITIES, _NONE):
        raise OSError("cannot give up capabilities")
    call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # which a change of the user has taken away


def undumpable() -> None:
    """Let no process of the bottle trace this one, read its memory or take its descriptors."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def call(name: str, *arguments: int | bytes) -> int:
    """Call a function of the C library."""
    result: int = _ctypes.call_cdeclfunction(_ctypes.dlsym(_ctypes.dlopen(None, 0), name), arguments)  # type: ignore[arg-type]
    return result


def main() -> None:
    """Run as PID 1 until the host hangs up."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    os.closerange(control.fileno() + 1, _NO_FD)  # bwrap leaves open what it waited at
    os.closerange(3, control.fileno())
    guest = Guest(control)
    if sys.argv[3]:
        become(int(sys.argv[3]))
    limit(sys.argv[2])
    undumpable()
    guest.serve()


if __name__ == "__main__":
    main()
