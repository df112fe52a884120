"""Promises of a bottle's broker: its services are reached by name, by nobody else, and end with the bottle."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bb_jupyter import approvals, manifest
from bb_jupyter.agent import provisioning
from bb_jupyter.approvals.store import staging
from bb_jupyter.backend import state
from bb_jupyter.broker import effects
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BackendUnavailable, BottleError, ManifestError
from bb_jupyter.gateway.audit import audit_log
from bb_jupyter.gateway.control.gateway_client import Event
from bb_jupyter.process import procfs
from tests.contract.conftest import Launch, out, sh
from tests.tools.broker import CURL, GIT, IN_CHILD, SUPERVISE, broker_pid, define, peak_memory, stand_in

#: Most memory of a process that only passes bytes on: a Python with its libraries, and bounded buffers.
_FLAT = 160 << 20
_CHILD = (
    IN_CHILD
    + """
import sys, time
from bb_jupyter import manifest
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
manifest.define_bottle("d", "supervise: true")
current().launch(sys.argv[1], LaunchOptions(backend=sys.argv[2], bottle="d"))
print("up", flush=True)
time.sleep(600)
"""
)
#: Thirty requests at a time.
_MANY = f"""
for n in $(seq 30); do {CURL} {SUPERVISE}/slow & done | sort | uniq -c
wait
"""
#: Asks for much and reads nothing but the beginning.
_STALLED = """
import socket, time
s = socket.create_connection(("supervise", 9100))
s.sendall(b"GET /big?500 HTTP/1.1\\r\\nHost: supervise\\r\\n\\r\\n")
print(s.recv(15), flush=True)
time.sleep(100)
"""


def until(condition: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "widgets.git"], check=True)
    return tmp_path / "widgets.git"


@pytest.fixture
def supervised(launch: Launch, bottle_name: str) -> BottleHandle:
    return launch(bottle=define(bottle_name))


def test_both_services_are_reached_by_name_without_a_route(launch: Launch, bottle_name: str, repository: Path) -> None:
    handle = launch(bottle=define(bottle_name, repository))
    assert out(handle, f"{CURL} {SUPERVISE}/a") == f"supervise {bottle_name} GET /a 0\n"
    assert out(handle, f"{CURL} {GIT}/b") == f"git-gate {bottle_name} GET /b 0\n"
    assert handle.bottle.broker.state == "open"
    assert "no-route" in out(handle, f"{CURL} -i http://other.test/")


def test_a_gate_alone_is_all_that_is_reached(launch: Launch, bottle_name: str, repository: Path) -> None:
    handle = launch(bottle=define(bottle_name, repository, supervise=False))
    assert out(handle, f"{CURL} {GIT}/b") == f"git-gate {bottle_name} GET /b 0\n"
    assert handle.bottle.network.state == "none"
    for refused in (SUPERVISE, "http://egress:3128", "http://127.0.0.1:22", "http://192.0.2.1"):
        assert sh(handle, f"{CURL} {refused}/").returncode == 7


def test_the_preflight_names_them(session: Session, backend: str, bottle_name: str, repository: Path) -> None:
    options = LaunchOptions(backend=backend, bottle=define(bottle_name, repository))
    rows = dict(session.plan(bottle_name, options).rows())
    assert rows["git gate"] == f"widgets ({repository})"
    assert "300 s" in rows["supervised"]


def test_services_and_routes_go_together(launch: Launch, bottle_name: str) -> None:
    handle = launch(bottle=define(bottle_name), allow=("ok.test",))
    assert out(handle, f"{CURL} {SUPERVISE}/a") == f"supervise {bottle_name} GET /a 0\n"
    assert "no-route" in out(handle, f"{CURL} -i http://other.test/")


def test_a_service_that_the_manifest_does_not_name_is_refused(supervised: BottleHandle, launch: Launch) -> None:
    assert sh(supervised, f"{CURL} {GIT}/").returncode == 7
    plain = launch(f"{supervised.name}-2")
    assert plain.bottle.broker.state == "none"
    for url in (GIT, SUPERVISE):
        assert sh(plain, f"{CURL} {url}/").returncode == 7


def test_git_in_every_gated_bottle_is_told_of_the_gate(launch: Launch, bottle_name: str, repository: Path) -> None:
    handle = launch(bottle=define(bottle_name, repository, supervise=False))
    told = out(handle, "git config --global --list").splitlines()
    assert {"user.name=A", "user.email=a@b.test", f"url.{GIT}/widgets.git.insteadof={repository}"} <= {*told}


def test_an_agent_is_told_of_its_human(launch: Launch, bottle_name: str) -> None:
    folder = Path(os.environ["BOT_BOTTLE_HOME"]) / "agents"
    folder.mkdir()
    (folder / "helper.md").write_text(f"---\nprovider: shell\nbottle: {define(bottle_name)}\n---\nHelp.\n")
    assert out(launch(agent="helper"), "cat ~/.bottle/shell/supervise") == f"{SUPERVISE}/"


def test_what_services_report_reaches_the_owner_and_the_audit_log(supervised: BottleHandle) -> None:
    heard: list[Event] = []
    supervised.bottle.broker.events.append(heard.append)
    out(supervised, f"{CURL} {SUPERVISE}/emit")
    until(lambda: [event["service"] for event in heard if event["event"] == "told"] == ["supervise"])
    assert [event["service"] for event in audit_log.read(supervised.name) if event["event"] == "told"] == ["supervise"]


def test_an_approved_host_is_put_in_force_and_no_other(supervised: BottleHandle) -> None:
    queue = approvals.Queue(supervised.plan.slug, supervised.name)
    first, second, third = (
        queue.propose("egress", {"manifest": route})
        for route in (
            {"host": "ok.test", "methods": ["GET"]},
            {"host": "no.test"},
            {"host": "x.test", "resolve": "127.0.0.1"},
        )
    )
    outcomes = [effects.approve(proposal.id).outcome for proposal in (first, third)]
    assert [outcome.ok for outcome in outcomes if outcome] == [True, False]
    assert outcomes[0] and outcomes[0].detail == {"generation": 2}
    for refused in (second.id, third.id, 99):
        assert "error" in out(supervised, f"{CURL} '{SUPERVISE}/apply?{refused}'")
    routes = supervised.bottle.network.routes
    assert routes is not None
    assert [str(route) for route in routes.routes] == ["ok.test (GET)"]
    assert "no-route" in out(supervised, f"{CURL} -i http://no.test/")


def test_an_offered_file_is_fetched_as_the_agent_reads_it(supervised: BottleHandle) -> None:
    out(supervised, "echo 42 > ~/answer; mkfifo ~/pipe; ln -s /dev/zero ~/zero; head -c 40000000 /dev/zero > ~/large")
    approvals.Queue(supervised.plan.slug, supervised.name).propose("question", {})
    assert out(supervised, f"{CURL} '{SUPERVISE}/stage?answer'") == "{}"
    file = staging.staged(supervised.plan.slug, staging.request_name(11))
    assert file.read_text() == "42\n"
    file.unlink()
    for name in ("pipe", "zero", "large", "none"):
        assert "error" in out(supervised, f"{CURL} '{SUPERVISE}/stage?{name}'")
        assert not file.exists()


def test_thirty_requests_at_a_time(supervised: BottleHandle) -> None:
    assert out(supervised, _MANY).split() == ["30", "supervise", supervised.name, "GET", "/slow", "0"]


def test_large_streams_both_ways_take_no_memory(supervised: BottleHandle) -> None:
    assert out(supervised, f"{CURL} '{SUPERVISE}/big?200' | wc -c").strip() == str(200 << 20)
    size = 100_000_000
    sent = out(supervised, f"head -c {size} /dev/zero | {CURL} -T - {SUPERVISE}/up")
    assert sent == f"supervise {supervised.name} PUT /up {size}\n"
    assert peak_memory(broker_pid(supervised)) < _FLAT


def test_a_client_that_does_not_read_holds_nobody_up(supervised: BottleHandle) -> None:
    with supervised.exec(["python3", "-c", _STALLED]) as stalled:
        said = b""
        while b"200 OK" not in said:
            said += b"".join(chunk.data for chunk in stalled.poll(30) or ())
        for _ in range(20):
            assert out(supervised, f"{CURL} {SUPERVISE}/a").startswith("supervise")
    assert peak_memory(broker_pid(supervised)) < _FLAT


def test_a_broker_that_dies_is_started_anew_with_what_waits(supervised: BottleHandle, session: Session) -> None:
    heard: list[Event] = []
    supervised.bottle.broker.events.append(heard.append)
    question = approvals.Queue(supervised.plan.slug, supervised.name).propose("question", {"question": "?"})
    first = broker_pid(supervised)
    os.kill(first, signal.SIGKILL)
    until(lambda: "broker-restarted" in [event["event"] for event in heard])
    assert out(supervised, f"{CURL} {SUPERVISE}/a") == f"supervise {supervised.name} GET /a 0\n"
    assert broker_pid(supervised) != first
    assert [proposal.id for proposal in approvals.pending()] == [question.id]
    assert [each.state for each in session.active() if each.name == supervised.name] == ["running"]
    assert {"broker-died", "broker-restarted"} <= {event["event"] for event in audit_log.read(supervised.name)}


def test_a_broker_that_dies_again_and_again_is_given_up(
    supervised: BottleHandle, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bb_jupyter.backend.shared.bottle_broker._PAUSES", (0.0, 0.0, 0.0))
    heard: list[Event] = []
    supervised.bottle.broker.events.append(heard.append)
    for restarts in range(4):
        until(lambda: [event["event"] for event in heard].count("broker-restarted") == restarts)  # noqa: B023 - at once
        os.kill(broker_pid(supervised), signal.SIGKILL)
    until(lambda: "broker-given-up" in [event["event"] for event in heard])
    assert supervised.bottle.broker.state == "lost"
    until(lambda: [each.state for each in session.active() if each.name == supervised.name] == ["no broker"])
    assert "broker-died" in [event["event"] for event in audit_log.read(supervised.name)]
    until(lambda: sh(supervised, f"{CURL} {SUPERVISE}/").returncode == 7)
    assert out(supervised, "echo alive") == "alive\n"


def test_a_service_that_does_not_start_is_told_with_its_reason(launch: Launch, bottle_name: str) -> None:
    name = f"{bottle_name}-broken"
    with contextlib.suppress(BackendUnavailable):  # it depends on who is faster
        handle = launch(name, bottle=define(bottle_name))
        until(lambda: handle.bottle.broker.state == "lost")
    until(lambda: "as tested" in str([event.get("error") for event in audit_log.read(name)]))


def test_a_branch_has_a_broker_of_its_own(supervised: BottleHandle) -> None:
    (branch,) = supervised.branch()
    assert out(branch, f"{CURL} {SUPERVISE}/a") == f"supervise {branch.name} GET /a 0\n"
    assert broker_pid(branch) != broker_pid(supervised)


def test_a_token_of_the_gate_is_in_no_file_environment_or_command_line(
    launch: Launch, bottle_name: str, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    token = f"token-{secrets.token_hex(16)}"
    monkeypatch.setenv("GATE_TOKEN", token)
    repo = "{url: 'https://h.test/x.git', username: u, token_ref: GATE_TOKEN}"
    manifest.define_bottle(bottle_name, f"git-gate: {{repos: {{widgets: {repo}}}}}\nsupervise: true")
    handle = launch(bottle=bottle_name)
    assert out(handle, f"{CURL} {GIT}/emit")
    seen = [file.read_bytes() for file in home.rglob("*") if file.is_file()]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(home).encode() in (environment := (process / "environ").read_bytes()):
                seen += [(process / "cmdline").read_bytes(), environment]
    if handle.plan.spec.backend == "docker":
        with request.getfixturevalue("engine").client() as client:
            wanted = {"label": f"bb-jupyter.slug={handle.plan.slug}"}
            seen += [repr(each.attrs).encode() for each in client.containers.list(all=True, filters=wanted)]
    seen += [out(handle, "env; cat ~/.gitconfig").encode(), handle.plan.text().encode()]
    assert len(seen) > 5
    assert not [piece for piece in seen if token.encode() in piece]


def test_its_end_takes_back_what_only_a_live_bottle_needs(supervised: BottleHandle, home: Path) -> None:
    queue = approvals.Queue(supervised.plan.slug, supervised.name)
    question, push = queue.propose("question", {"question": "?"}), queue.propose("push", {"alias": "widgets"})
    assert approvals.is_alive(supervised.plan.slug)
    supervised.stop()
    assert approvals.status(question.id).state == "withdrawn"
    assert approvals.status(push.id).state == "pending"
    assert not approvals.is_alive(supervised.plan.slug)


def test_a_broker_without_proposals_leaves_no_folder(supervised: BottleHandle, home: Path) -> None:
    slug = supervised.plan.slug
    supervised.stop()
    assert not (home / "approvals" / slug).exists()


@pytest.mark.parametrize("error", [BottleError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", ["start", "broker", "git"])
def test_a_failure_in_the_launch_leaves_nothing(
    launch: Launch,
    bottle_name: str,
    repository: Path,
    stage: str,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    broker = "backend.shared.bottle_broker.BottleBroker"
    patched = {"start": f"{broker}.begin", "broker": f"{broker}.open", "git": ""}[stage]
    if patched:
        monkeypatch.setattr(f"bb_jupyter.{patched}", fail)
    else:
        monkeypatch.setattr(provisioning, "provision_git", fail)
    with pytest.raises(type(error)):
        launch(bottle=define(bottle_name, repository))
    assert not state.records()


def test_a_killed_kernel_leaves_nothing_that_cleanup_does_not_find(
    session: Session, backend: str, bottle_name: str, home: Path
) -> None:
    child = subprocess.Popen([sys.executable, "-c", _CHILD, bottle_name, backend], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    (record,) = state.records()
    mirror, question = home / "git" / record.slug / "x.git", approvals.Queue(record.slug, bottle_name)
    mirror.mkdir(parents=True)
    number = question.propose("question", {"question": "?"}).id
    child.send_signal(signal.SIGSTOP)  # so that it starts no other broker
    os.kill(record.details["broker"]["pid"], signal.SIGKILL)  # so that it cannot take leave
    child.kill()
    child.wait()
    assert [line for line in session.cleanup() if bottle_name in line]
    assert not mirror.exists()
    assert number not in [proposal.id for proposal in approvals.pending()]
    assert not session.cleanup(dry_run=True)
    until(lambda: procfs.start_time(record.details["broker"]["pid"]) is None)


@pytest.mark.parametrize(
    ("gate", "key"),
    [
        ("{url: /nowhere/at/all}", "git-gate.repos.widgets.url"),
        ("{url: /usr}", "git-gate.repos.widgets.url"),
        ("{url: 'https://h.test/x.git', ca: /etc/passwd}", "git-gate.repos.widgets.ca"),
        ("{url: 'https://h.test/x.git', username: u, token_ref: NO_SUCH_TOKEN}", "git-gate.repos.widgets.token_ref"),
        ("{url: 'ssh://git@h.test/x.git', identity: /nowhere/key}", "git-gate.repos.widgets.identity"),
    ],
)
def test_what_the_gate_needs_and_is_not_there_is_said_before_anything_starts(
    session: Session, backend: str, bottle_name: str, gate: str, key: str
) -> None:
    manifest.define_bottle(bottle_name, f"git-gate: {{repos: {{widgets: {gate}}}}}")
    with pytest.raises(ManifestError) as caught:
        session.plan(bottle_name, LaunchOptions(backend=backend, bottle=bottle_name))
    assert caught.value.key == key
    assert caught.value.hint
