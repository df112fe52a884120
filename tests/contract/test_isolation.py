"""Promises of isolation: nothing of the host, nothing of another bottle, no network."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from tests.contract.conftest import Launch, out, sh


@pytest.fixture
def canary() -> Iterator[tuple[int, list[str]]]:
    """A server on every address of the host that remembers who came."""
    came: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], came
    server.shutdown()
    server.server_close()


def addresses_of_the_host() -> list[str]:
    found = {"127.0.0.1", "172.17.0.1", socket.gethostbyname(socket.gethostname())}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    return sorted(found)


def test_no_address_of_the_host_answers(bottle: BottleHandle, canary: tuple[int, list[str]]) -> None:
    port, came = canary
    for address in addresses_of_the_host():
        done = bottle.exec(
            ["bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && printf 'GET / HTTP/1.0\\n\\n' >&3"], timeout=15
        )
        result = done.wait()
        assert result.returncode not in (0,), address
        assert not result.timed_out, f"{address}: a denial is immediate"
    assert came == []


def test_only_the_loopback_is_there(bottle: BottleHandle) -> None:
    assert out(bottle, "cat /proc/net/dev | tail -n +3 | cut -d: -f1").split() == ["lo"]
    assert out(bottle, "tail -n +2 /proc/net/route").strip() == ""


def test_no_name_is_resolved(bottle: BottleHandle) -> None:
    done = sh(bottle, "getent hosts example.com", timeout=15)
    assert done.returncode not in (0, 124)


def test_gateway_names_are_the_bottles_own_loopback(bottle: BottleHandle) -> None:
    for name in ("egress", "git-gate", "supervise"):
        assert out(bottle, f"getent hosts {name}").split()[0] == "127.0.0.1"


def test_the_hosts_files_are_not_there(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    home = Path.home()
    for path in (
        tmp_path / "secret",
        Path("/etc/shadow"),
        home / ".ssh",
        home / ".bot-bottle",
        Path(os.environ["BOT_BOTTLE_HOME"]),
    ):
        done = sh(bottle, f"cat '{path}'; ls '{path}'/")
        assert done.returncode != 0
        assert b"canary" not in done.stdout


def test_the_hosts_processes_are_not_there(bottle: BottleHandle) -> None:
    pids = out(bottle, "ls /proc | grep -c '^[0-9]'")
    assert int(pids) < 20
    assert str(os.getpid()) not in out(bottle, "ls /proc").split()


def test_nothing_of_the_system_can_be_written(bottle: BottleHandle) -> None:
    for path in ("/usr/bin/x", "/etc/passwd", "/sys/kernel/x"):
        assert sh(bottle, f"echo x > {path}").returncode != 0, path


def test_no_file_of_the_machine_can_be_written(bottle: BottleHandle) -> None:
    # Asked of the kernel (access(2)), and nothing is written: a hole here would be the host's.
    found = out(
        bottle,
        "find /proc -path '/proc/[0-9]*' -prune -o -writable -exec test -f {} \\; -print 2>/dev/null;"
        " find /sys -type f -writable -print 2>/dev/null; find / -xdev -type f -writable -print 2>/dev/null; :",
    )
    # The last is everybody's, and to write there needs a capability.
    home = ("/home/agent", "/tmp", "/var/tmp", "/proc/pressure")
    assert [line for line in found.splitlines() if not line.startswith(home)] == []


def test_no_capability_and_no_new_privilege(bottle: BottleHandle) -> None:
    status = dict(line.split(":\t", 1) for line in out(bottle, "cat /proc/self/status").splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize(
    "attempt",
    ["unshare -U true", "unshare -r true", "mount -t tmpfs none /tmp", "chroot / true", "dmesg", "unshare -n true"],
)
def test_what_widens_the_sandbox_is_refused(bottle: BottleHandle, attempt: str) -> None:
    assert sh(bottle, attempt).returncode != 0


def test_the_first_process_cannot_be_touched(bottle: BottleHandle) -> None:
    sh(bottle, "kill -9 1; kill -STOP 1; kill -TERM 1")
    assert out(bottle, "echo alive") == "alive\n"


def test_two_bottles_do_not_see_each_other(launch: Launch, bottle_name: str) -> None:
    one, two = launch(), launch(f"{bottle_name}b")
    out(one, "echo secret > ~/mine; echo secret > /tmp/mine; sleep 54321 & echo")
    assert sh(two, "cat ~/mine /tmp/mine").returncode != 0
    assert "54321" not in out(two, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    two.stop()


def test_files_stay_between_commands(bottle: BottleHandle) -> None:
    out(bottle, "echo 42 > answer")
    assert out(bottle, "cat answer") == "42\n"


def test_the_host_name_is_the_bottles(bottle: BottleHandle) -> None:
    assert out(bottle, "hostname").strip() == bottle.name


def test_no_descriptor_of_the_host_leaks(bottle: BottleHandle) -> None:
    assert out(bottle, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3: the folder that ls reads


def test_the_input_of_a_file_cannot_be_written_back(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("original")
    with (tmp_path / "file").open("rb") as source:
        bottle.exec(
            ["sh", "-c", "cat; echo changed > /proc/self/fd/0; echo changed > /dev/stdin; :"], stdin=source
        ).wait()
    assert (tmp_path / "file").read_text() == "original"
