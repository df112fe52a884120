"""The cloud on a bad day: rate limits, outages, lost connections, machines that die; and what is asked of it."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path

import pytest

from bb_jupyter.backend import KILLED, registry, state
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BackendUnavailable, BottleGone, UsageError
from bb_jupyter.manifest import Limits
from tests.contract.conftest import out, sh
from tests.smolmachines.conftest import Launch
from tests.smolmachines.server import Cloud, Fault, wait_until

pytestmark = [pytest.mark.smolmachines, pytest.mark.bubblewrap]


def the_machine(cloud: Cloud) -> object:
    (machine,) = cloud.machines.values()
    return machine


def test_what_a_launch_asks_for(cloud: Cloud, launch: Launch) -> None:
    bottle = launch(limits=Limits(cpus=1.5, memory=300 << 20, disk=3 << 30), image="registry.example/thing:1")
    (machine,) = cloud.machines.values()
    assert machine.name == f"bb-{bottle.plan.slug}"
    assert machine.body["source"] == {"type": "image", "reference": "registry.example/thing:1"}
    assert machine.body["network"] == {"mode": "blocked"}
    assert machine.body["resources"] == {"cpus": 2, "memoryMb": 300, "diskGb": 3}
    assert machine.labels["bb-jupyter.slug"] == bottle.plan.slug
    assert not any(key.startswith("PUT /v1/credentials") for key in cloud.requests)


def test_the_key_is_nowhere(cloud: Cloud, launch: Launch, home: Path) -> None:
    bottle = launch()
    text = json.dumps([machine.told() for machine in cloud.machines.values()]) + bottle.plan.text() + repr(bottle.plan)
    text += "".join(file.read_text(errors="replace") for file in home.rglob("*") if file.is_file())
    assert "smk_" not in text + out(bottle, "env; cat /proc/self/environ")


def test_a_rate_limit_is_waited_for(cloud: Cloud, launch: Launch) -> None:
    cloud.faults.append(Fault("POST", "/v1/machines", status=429, headers={"retry-after": "0"}, times=2))
    bottle = launch()
    cloud.faults.append(Fault("GET", bottle.bottle.machine.id, status=429, headers={"retry-after": "0"}))  # type: ignore[attr-defined]
    assert bottle.bottle.alive


def test_a_rate_limit_without_end_is_said(cloud: Cloud, session: Session, bottle_name: str) -> None:
    cloud.faults.append(Fault("POST", "/v1/machines", status=429, headers={"retry-after": "0"}, times=99))
    with pytest.raises(BackendUnavailable, match="too many requests") as caught:
        session.launch(bottle_name, LaunchOptions(backend="smolmachines"))
    assert "Try again in 0 s" in caught.value.hint
    assert not state.records()


def test_an_outage_is_said_and_nothing_is_made_twice(cloud: Cloud, session: Session, bottle_name: str) -> None:
    cloud.faults.append(Fault("POST", "/v1/machines", status=503, body="no capacity"))
    with pytest.raises(BackendUnavailable, match="no capacity"):
        session.launch(bottle_name, LaunchOptions(backend="smolmachines"))
    assert cloud.requests.count("POST /v1/machines") == 1
    assert not cloud.machines
    assert not state.records()


def test_an_outage_of_what_may_be_asked_again_is_passed_over(cloud: Cloud, bottle: BottleHandle) -> None:
    cloud.faults.append(Fault("GET", "", status=503, headers={"retry-after": "0"}, times=2))
    assert bottle.bottle.alive


def test_a_bottle_that_cannot_be_asked_is_not_given_up(cloud: Cloud, session: Session, bottle: BottleHandle) -> None:
    cloud.faults.append(Fault("GET", "", status=503, headers={"retry-after": "0"}, times=4))
    assert session.get(bottle.name) is bottle
    assert not cloud.faults
    assert out(bottle, "echo usable") == "usable\n"


def test_an_exec_that_is_refused_is_not_sent_again(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    before = cloud.requests.count(f"POST /v1/machines/{next(iter(cloud.machines))}/exec/stream")
    cloud.faults.append(Fault("POST", "/exec/stream", status=503, body="node is down"))
    with pytest.raises(BackendUnavailable, match="node is down"):
        bottle.exec(["true"])
    after = cloud.requests.count(f"POST /v1/machines/{next(iter(cloud.machines))}/exec/stream")
    assert after == before + 1
    assert out(bottle, "echo usable") == "usable\n"


def test_a_connection_lost_before_the_answer_is_said(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", drop=True))
    with pytest.raises(BackendUnavailable):
        bottle.exec(["true"])
    assert out(bottle, "echo usable") == "usable\n"


def test_a_connection_lost_while_a_command_runs_is_said(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", drop=2))
    execution = bottle.exec(["sh", "-c", "echo one; sleep 0.2; echo two; sleep 100"])
    with pytest.raises(BackendUnavailable, match="lost"):
        execution.wait()
    assert out(bottle, "echo usable") == "usable\n"


def test_a_stream_that_ends_without_an_end_is_a_lost_connection(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", events=[("stdout", "#42.")]))
    with pytest.raises(BackendUnavailable, match="connection was lost"):
        bottle.exec(["true"]).wait()


def test_a_cloud_that_hangs_up_on_the_key_is_said(cloud: Cloud, session: Session, bottle_name: str) -> None:
    cloud.faults.append(Fault("POST", "/v1/machines", status=401, body="revoked"))
    with pytest.raises(BackendUnavailable, match="refuses the key") as caught:
        session.launch(bottle_name, LaunchOptions(backend="smolmachines"))
    assert "SMOL_CLOUD_TOKEN" in caught.value.hint


def test_without_a_key_nothing_is_asked(
    cloud: Cloud, session: Session, bottle_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMOL_CLOUD_TOKEN")
    with pytest.raises(BackendUnavailable, match="API key"):
        session.launch(bottle_name, LaunchOptions(backend="smolmachines"))
    assert not cloud.requests


def test_exit_137_before_any_output_is_tried_once_more(
    cloud: Cloud, bottle: BottleHandle, caplog: pytest.LogCaptureFixture
) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", events=[("stdout", "#42."), ("exit", '{"exitCode": 137}')]))
    with caplog.at_level(logging.WARNING):
        assert out(bottle, "cat", stdin=b"the input, too") == "the input, too"
    assert [record.name for record in caplog.records if "137" in record.message]


def test_the_input_of_what_is_tried_once_more_is_whole(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", events=[("exit", '{"exitCode": 137}')]))
    done = bottle.exec(["sha256sum"], stdin=io.BytesIO(b"x" * 3_000_000)).wait()
    assert done.stdout.startswith(b"e55b8bdf")


def test_a_second_137_is_returned(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", events=[("exit", '{"exitCode": 137}')], times=2))
    assert sh(bottle, "true").returncode == KILLED
    assert not cloud.faults


def test_137_after_output_is_returned(cloud: Cloud, bottle: BottleHandle, caplog: pytest.LogCaptureFixture) -> None:
    done = sh(bottle, "echo seen; kill -9 $$")
    assert (done.returncode, done.stdout) == (KILLED, b"seen\n")
    assert "137" not in caplog.text


def test_137_that_a_kill_asked_for_is_no_reason_to_start_again(
    cloud: Cloud, bottle: BottleHandle, caplog: pytest.LogCaptureFixture
) -> None:
    execution = bottle.exec(["sleep", "100"])
    execution.kill()
    assert execution.wait().returncode == KILLED
    assert bottle.exec(["sleep", "100"], timeout=0.3).wait().timed_out
    assert "137" not in caplog.text


def test_a_machine_that_is_deleted_elsewhere_is_gone(cloud: Cloud, session: Session, bottle: BottleHandle) -> None:
    import smol

    smol.Machine.delete_by_name(next(iter(cloud.machines)), smol.ConnectOptions(target="cloud"))
    with pytest.raises(BottleGone):
        bottle.exec(["true"])
    with pytest.raises(BottleGone):
        session.get(bottle.name)


def test_what_comes_as_no_frame_is_no_output(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    cloud.faults.append(Fault("POST", "/exec/stream", events=[("stdout", "#42."), ("stdout", "A."), ("exit", "{}")]))
    with pytest.raises(BackendUnavailable, match="is damaged"):
        bottle.exec(["true"]).wait()


def test_frames_may_be_cut_anywhere(cloud: Cloud, bottle: BottleHandle) -> None:
    out(bottle, "true")
    pieces = [("stdout", piece) for piece in ("#4", "2.aGVs", "bG8", "=.", "\nd29y\n", "bGQ=.")]
    cloud.faults.append(
        Fault("POST", "/exec/stream", events=[*pieces, ("stderr", "b29wcw==."), ("exit", '{"exitCode": 3}')])
    )
    done = sh(bottle, "true")
    # Without its own word, the command's status is what the cloud says.
    assert (done.stdout, done.stderr, done.returncode) == (b"helloworld", b"oops", 3)


def test_staged_input_is_removed(cloud: Cloud, bottle: BottleHandle) -> None:
    assert sh(bottle, "wc -c", stdin=io.BytesIO(b"x" * 200_000)).stdout.strip() == b"200000"
    wait_until(lambda: out(bottle, "ls /tmp/.bottle-stage") == "")


def test_a_machine_that_does_not_start_is_deleted(cloud: Cloud, session: Session, bottle_name: str) -> None:
    cloud.faults.append(Fault("POST", "/exec", status=422, body="no shell"))
    with pytest.raises(BackendUnavailable, match="no shell"):
        session.launch(bottle_name, LaunchOptions(backend="smolmachines"))
    assert not cloud.machines
    assert not state.records()


def test_a_kept_bottle_is_held_again(cloud: Cloud, launch: Launch, session: Session, bottle_name: str) -> None:
    kept = launch(keep=True, cwd="/tmp", env={"COLOUR": "blue"}, limits=Limits(timeout=50))
    out(kept, "echo 42 > answer")
    session.close()
    (machine,) = cloud.machines.values()
    assert machine.state == "started"
    assert not session.cleanup(dry_run=True)
    again = Session().attach(bottle_name)
    assert out(again, "cat answer; echo $COLOUR $PWD") == "42\nblue /tmp\n"
    assert again.plan.spec.limits.timeout == 50
    again.stop()
    assert not cloud.machines


def test_cleanup_deletes_branches_whose_labels_are_lost(cloud: Cloud, session: Session, bottle: BottleHandle) -> None:
    (branch,) = bottle.branch()
    assert {agent.name for agent in session.active()} >= {bottle.name, branch.name}
    assert len(cloud.machines) == 2
    for record in state.records():
        file = record.directory / "bottle.json"
        told = json.loads(file.read_text())
        told["owner"]["start_time"] -= 1  # its process is dead, and the number is another's now
        file.write_text(json.dumps(told))
    found = session.cleanup(dry_run=True)
    assert len([line for line in found if line.startswith("cloud machine")]) == 2
    session.cleanup()
    assert not cloud.machines
    assert not state.records()


def test_machines_of_others_are_not_touched(cloud: Cloud, session: Session, bottle: BottleHandle) -> None:
    import smol

    other = smol.Machine.create(smol.MachineConfig(name="mine", image="x"), smol.ConnectOptions(target="cloud"))
    assert [agent.name for agent in session.active() if agent.backend == "smolmachines"] == [bottle.name]
    assert not session.cleanup()
    session.stop_all()
    assert list(cloud.machines) == [other.id]
    other.delete()


def test_a_target_that_does_not_exist_is_said(
    session: Session, bottle_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_BOTTLE_SMOL_TARGET", "moon")
    with pytest.raises(UsageError, match="moon"):
        session.plan(bottle_name, LaunchOptions(backend="smolmachines"))


def test_it_is_never_chosen_unless_it_is_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOT_BOTTLE_BACKEND", raising=False)
    assert registry.get("smolmachines").is_available()
    assert registry.choose()[0].name != "smolmachines"
    assert registry.choose("smolmachines")[0].name == "smolmachines"


def test_doctor_asks_the_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {check.name: check for check in registry.get("smolmachines").diagnose()}
    assert re.fullmatch(r"SDK 1\.\d+.*", checks["smolmachines"].detail)
    assert checks["smol cloud"].verdict == "ok"
    assert checks["microVMs here"].verdict in ("ok", "warning")
    cloud.faults.append(Fault("GET", "/v1/machines", status=401, body="revoked"))
    checks = {check.name: check for check in registry.get("smolmachines").diagnose()}
    assert (checks["smol cloud"].verdict, checks["smol cloud"].fix) == ("failed", "Check SMOL_CLOUD_TOKEN.")
