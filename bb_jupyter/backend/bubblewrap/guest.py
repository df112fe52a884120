"""PID 1 of a bubblewrap bottle: starts commands, kills them, reaps everything; the standard library only.

It runs inside the sandbox as `python -I -S guest.py FD LIMITS`.  FD is a SEQPACKET socket to the host; when the host's end
closes, this process ends and the kernel ends everything else with it.  Messages from the host are one JSON object each:

    {"op": "exec", "id": N}    with fds: request, stdout, stderr, status[, stdin].  The request is a file that holds
                               {"argv": […], "env": {…}, "cwd": "…"}; the exit status is written to `status` as a decimal line.
    {"op": "kill", "id": N}    SIGKILL to every process of that command's session.
    {"op": "listen", "ports": […]}   answered by {} with one listening socket of 127.0.0.1 per port.

It says {"pid": 1} when it is ready.  The host believes none of what it says.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys

_PR_SET_DUMPABLE = 4
_MAX_FDS = 5
_KILL_PASSES = 100
# Commands are the first to go when memory runs out, this process the last.
_OOM_SCORE_OF_COMMANDS = b"700"


class Guest:
    """The commands that run, and the loop that serves the host."""

    def __init__(self, control):
        self.control = control
        self.running = {}  # pid -> (id, status fd)
        # Opened while it still belongs to us: an undumpable process may not open its own /proc files.
        self.oom_score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)

    def serve(self):
        """Answer the host until it hangs up."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        self.control.send(b'{"pid": 1}')
        while True:
            for fd, _ in poll.poll():
                if fd == wake_read:
                    os.read(wake_read, 4096)
                elif not self.one_message():
                    return
            self.reap()

    def one_message(self):
        """Serve one message; false when the host has hung up."""
        data, fds, _, _ = socket.recv_fds(self.control, 1 << 16, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        message = json.loads(data)
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

    def start(self, ident, fds):
        """Start a command; what hinders it is said on its standard error."""
        if len(fds) < _MAX_FDS:
            fds.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        request_fd, stdout, stderr, status, stdin = fds
        with open(request_fd, "rb", closefd=False) as file:
            request = json.loads(file.read())
        os.pwrite(self.oom_score, _OOM_SCORE_OF_COMMANDS, 0)
        try:
            pid = os.fork()
        except OSError as error:
            text = f"cannot start: {os.strerror(error.errno)} (too many processes in the bottle?)\n"
            os.write(stderr, text.encode())
            os.write(status, b"126\n")
            return
        if pid == 0:
            run(request, stdin, stdout, stderr)
        os.pwrite(self.oom_score, b"0", 0)
        self.running[pid] = (ident, os.dup(status))

    def reap(self):
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
                with contextlib.suppress(OSError):  # the host has let this command go
                    os.write(fd, b"%d\n" % (code if code >= 0 else 128 - code))
                os.close(fd)

    def kill(self, ident):
        """Kill a command's whole session, again and again until a look at /proc finds none of it."""
        for pid in [pid for pid, (known, _) in self.running.items() if known == ident]:
            for _ in range(_KILL_PASSES):
                found = session_of(pid)
                for member in found:
                    with contextlib.suppress(OSError):  # it ended by itself
                        os.kill(member, signal.SIGKILL)
                if not found:
                    break

    def listen(self, ports):
        """Bind ports of the bottle's own loopback and pass the sockets out."""
        sockets = []
        for port in ports:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(512)
            sockets.append(listener)
        socket.send_fds(self.control, [b"{}"], [listener.fileno() for listener in sockets])
        for listener in sockets:
            listener.close()


def run(request, stdin, stdout, stderr):
    """Become the command; in the child, never returns."""
    code = 126
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for fd, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(fd, target, inheritable=True)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(request["cwd"])
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    except OSError as error:
        code = 127 if error.errno == errno.ENOENT else 126
        what = error.filename or request["argv"][0]
        os.write(2, f"{what}: {os.strerror(error.errno)}\n".encode("utf-8", "surrogateescape"))
    except BaseException as error:
        os.write(2, f"{error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)


def session_of(leader):
    """Return the pids of the living processes of a session."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        # The command name is in parentheses and may hold anything; after it: state, ppid, pgrp, session.
        state, _, group, session = stat[stat.rindex(b")") + 2 :].split()[:4]
        if state not in b"ZX" and leader in (int(group), int(session)):
            found.append(int(name))
    return found


def limit(limits):
    """Apply the rlimits that the host chose, hard and soft."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def main():
    """Run as PID 1 until the host hangs up."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    guest = Guest(control)
    limit(json.loads(sys.argv[2]))
    # No process of the bottle may trace this one, read its memory or take its descriptors.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    guest.serve()


if __name__ == "__main__":
    main()
