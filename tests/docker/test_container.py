"""The container of a bottle, as the engine sees it."""

from __future__ import annotations

import json
import signal
import time

import docker
import pytest

from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.errors import BottleGone, UsageError
from bb_jupyter.manifest import Limits
from bb_jupyter.process.identity import ProcessIdentity
from tests.docker.conftest import Launch, Plan, out
from tests.leftovers import Engine


def test_it_is_hardened(launch: Launch, api: docker.APIClient) -> None:
    bottle = launch(limits=Limits(memory=64 << 20, pids=50, cpus=0.5))
    found = api.inspect_container(bottle.plan.container)
    host = found["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert [option.partition("=")[0] for option in host["SecurityOpt"]] == ["no-new-privileges", "seccomp"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"], host["NanoCpus"]) == (
        64 << 20,
        64 << 20,
        50,
        500_000_000,
    )
    assert not host["Binds"] and not host["PortBindings"] and not found["Mounts"]
    assert host["LogConfig"]["Type"] == "none"
    assert found["Config"]["User"] == "1000:1000"
    assert set(host["ExtraHosts"]) == {"egress:127.0.0.1", "git-gate:127.0.0.1", "supervise:127.0.0.1"}


def test_its_network_is_its_own_loopback(launch: Launch, api: docker.APIClient) -> None:
    bottle = launch()
    assert api.inspect_container(bottle.plan.container)["NetworkSettings"]["Networks"] == {}
    assert out(bottle, "ls /sys/class/net") == "lo\n"
    assert out(bottle, "getent hosts egress git-gate supervise | cut -d' ' -f1 | sort -u") == "127.0.0.1\n"
    assert out(bottle, "cat /etc/resolv.conf").splitlines()[0] == "nameserver 127.0.0.1"  # not what the host asks
    assert out(bottle, f"touch /etc/hosts 2>&1 || echo {bottle.name}").endswith(f"{bottle.name}\n")
    served = (
        "import socket as s; h = s.create_server(('localhost', 0)); s.create_connection(h.getsockname()); print('up')"
    )
    assert out(bottle, f'python3 -c "{served}"') == "up\n"


def test_its_labels_tell_whose_it_is(launch: Launch, api: docker.APIClient, bottle_name: str) -> None:
    bottle = launch()
    labels = api.inspect_container(bottle.plan.container)["Config"]["Labels"]
    assert labels["bb-jupyter.slug"] == bottle.slug
    assert labels["bb-jupyter.name"] == bottle_name
    assert labels["bb-jupyter.keep"] == "0"
    assert ProcessIdentity.from_dict(json.loads(labels["bb-jupyter.owner"])) == ProcessIdentity.current()


def test_another_home_does_not_see_it(
    launch: Launch, backend: DockerBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    bottle = launch()
    assert [agent.slug for agent in backend.enumerate_active()] == [bottle.slug]
    with monkeypatch.context() as patch:
        patch.setenv("BOT_BOTTLE_HOME", str(tmp_path))
        assert backend.enumerate_active() == []
        backend.stop(bottle.slug)
    assert bottle.alive


def test_the_agent_has_a_home_and_a_name(launch: Launch) -> None:
    bottle = launch()
    assert out(bottle, "whoami; pwd; touch here; stat -c %U .").split() == ["agent", "/home/agent", "agent"]


def test_an_image_with_nothing_but_busybox_will_do(launch: Launch, engine: Engine) -> None:
    bottle = launch(image=engine.busybox_image)
    assert out(bottle, "id -un; touch here && ls") == "agent\nhere\n"
    execution = bottle.exec(["sh", "-c", "sleep 1234 & setsid sleep 1234 & sleep 1234"])
    execution.kill()
    assert execution.wait().killed
    assert "1234" not in out(bottle, "ps -o args | grep -v grep")


def test_root_is_root_without_power(launch: Launch) -> None:
    bottle = launch(user="root")
    assert out(bottle, "id -u; grep CapEff /proc/self/status; echo x > ~/mine").split()[::2] == [
        "0",
        "0000000000000000",
    ]
    assert bottle.exec(["chown", "1000", "/etc/passwd"]).wait().returncode != 0


def test_an_unknown_user_is_said(launch: Launch) -> None:
    with pytest.raises(UsageError, match="no user 'nobody-here'"):
        launch().exec(["true"], user="nobody-here")


def test_an_unknown_user_of_the_whole_bottle_is_said(launch: Launch) -> None:
    with pytest.raises(UsageError, match="has no user 'nobody-here'"):
        launch(user="nobody-here")


def test_a_user_that_cannot_be_one_is_said(prepare: Plan) -> None:
    with pytest.raises(UsageError, match="not a user"):
        prepare(user="a b")


@pytest.mark.parametrize("how", ["remove", "kill"])
def test_a_bottle_that_dies_while_a_command_runs_is_gone(launch: Launch, api: docker.APIClient, how: str) -> None:
    bottle = launch()
    execution = bottle.exec(["sh", "-c", "echo started; sleep 1000"])
    assert execution.poll()[0].data == b"started\n"
    if how == "remove":
        api.remove_container(bottle.plan.container, force=True)
    else:
        api.kill(bottle.plan.container)
    with pytest.raises(BottleGone):
        execution.wait()
    with pytest.raises(BottleGone):
        bottle.exec(["true"])
    assert not bottle.alive


def test_a_command_that_a_signal_ends_is_no_dead_bottle(launch: Launch) -> None:
    assert launch().exec(["sh", "-c", "kill -9 $$"]).wait().returncode == 128 + signal.SIGKILL


def test_a_bottle_so_full_that_no_killer_starts_is_emptied(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    from bb_jupyter.backend.shared.container_engine import execution

    bottle = launch(limits=Limits(pids=40))
    monkeypatch.setattr(execution, "_killed", lambda *_: False)
    bomb = bottle.exec(["sh", "-c", "f() { f | f & }; (f); while :; do :; done"], timeout=1)
    assert bomb.wait().timed_out
    assert out(bottle, "ls >/dev/null; echo usable") == "usable\n"


def test_orphans_are_reaped(launch: Launch) -> None:
    bottle = launch()
    out(bottle, "for i in 1 2 3 4 5; do (sleep 0.1 &) ; done >/dev/null 2>&1")
    deadline = time.monotonic() + 20
    while "Z" in out(bottle, "ps -eo stat="):
        assert time.monotonic() < deadline


def test_what_a_command_leaves_in_the_background_does_not_hold_it(launch: Launch) -> None:
    bottle = launch()
    done = bottle.exec(["sh", "-c", "sleep 100 & echo started"]).wait()
    assert (done.returncode, done.stdout) == (0, b"started\n")
    assert done.duration < 50


def test_a_pipe_as_input_is_passed_on_as_it_comes(launch: Launch) -> None:
    import os

    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb", buffering=0) as sink:
        execution = launch().exec(["cat"], stdin=source)
        for word in (b"one", b"two"):
            sink.write(word)
            got = b""
            while got != word:
                got += b"".join(chunk.data for chunk in execution.poll(30))
        sink.close()
        assert execution.wait().stdout == b"onetwo"
