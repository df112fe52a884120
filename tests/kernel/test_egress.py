"""A bottle's network in the notebook: refusals in the cell, `allow`, `egress`, the audit, and a gateway that dies."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.service import Service
from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Notebook

pytestmark = pytest.mark.bubblewrap

_CURL = "curl -s --max-time 30"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    server = Service("127.0.0.1", tmp_path_factory.mktemp("service"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def notebook(kernel_folder: Path, notebook: Notebook) -> Notebook:
    """The shared notebook, whose kernel holds a credential."""
    assert notebook.run("%env BB_TOKEN=sk-test-0123456789").ok
    return notebook


@pytest.fixture
def bottle(notebook: Notebook, service: Service, bottle_name: str) -> Iterator[str]:
    """A bottle that may reach the service by two names; at one of them with a credential."""
    auth = {"scheme": "bearer", "token_ref": "BB_TOKEN"}
    define(notebook, bottle_name, service.route("ok.test", methods=["GET"]), service.route("key.test", auth=auth))
    assert notebook.run(f"%%bottle {bottle_name} --bottle {bottle_name}").ok
    yield bottle_name
    notebook.run(f"%bottle stop {bottle_name}")


def define(notebook: Notebook, name: str, *routes: dict[str, object]) -> None:
    assert notebook.run(f"%%bottle_manifest {name}\n{json.dumps({'egress': {'routes': routes}})}").ok


def script(name: str, *lines: str) -> str:
    return "\n".join([f"%%bottle {name}", *lines])


def test_a_refusal_is_told_at_once_in_the_cell_that_caused_it(notebook: Notebook, bottle: str) -> None:
    cell = notebook.start(script(bottle, f"{_CURL} https://other.test || true", "sleep 600"))
    line = f"egress: denied other.test:443 (no-route) — %bottle allow {bottle} other.test\n"
    assert notebook.until(cell, lambda cell: "denied" in cell.stderr).stderr == line
    notebook.interrupt()
    assert notebook.finish(cell).stderr == line


def test_a_refusal_at_the_end_of_a_cell_is_told_there_and_not_in_the_next(notebook: Notebook, bottle: str) -> None:
    for number in range(5):
        assert f"denied n{number}.test:443" in notebook.run(script(bottle, f"{_CURL} https://n{number}.test||:")).stderr
        assert notebook.run(script(bottle, "true")).stderr == ""


def test_a_refusal_is_told_in_the_very_first_cell(notebook: Notebook, bottle_name: str) -> None:
    """Its gateway may still be starting when the command ends."""
    cell = notebook.run(f"%%bottle {bottle_name} --allow ok.test --rm\n{_CURL} https://other.test || true")
    assert "denied other.test:443" in cell.stderr


def test_many_refusals_are_a_few_lines(notebook: Notebook, bottle: str) -> None:
    ask = f"for n in 1 1 1 2 3 4 5 6 7 8; do {_CURL} https://h$n.test || true; done"
    told = notebook.run(script(bottle, ask)).stderr.splitlines()
    assert [line.split()[2] for line in told[:-1]] == [f"h{number}.test:443" for number in range(1, 6)]
    assert told[-1] == f"egress: … and 3 more: %bottle egress {bottle} --denied"


def test_what_is_told_says_what_helps(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(
        script(
            bottle,
            f"{_CURL} -X POST -o /dev/null https://ok.test || true",
            f"{_CURL} -o /dev/null http://plain.test || true",
            f"{_CURL} -o /dev/null https://ok.test:8443 || true",
        )
    )
    suggest = f"%bottle egress {bottle} --suggest"
    assert f"denied ok.test:443 (method) — {suggest}" in cell.stderr
    assert f"denied plain.test:80 (no-route) — {suggest}" in cell.stderr
    assert f"denied ok.test:8443 (port) — %bottle allow {bottle} ok.test:8443" in cell.stderr


def test_output_in_the_background_has_its_own(notebook: Notebook, bottle: str) -> None:
    key = notebook.start(f"%%bottle {bottle} --bg --out run\n{_CURL} https://back.test || true")
    notebook.finish(key)
    notebook.run("_ = run.wait(60)")
    assert "denied back.test:443" in notebook.cells[key].stderr


def test_allow_says_what_may_be_reached_and_acts_at_once(notebook: Notebook, bottle: str) -> None:
    said = notebook.run(f"%bottle allow {bottle} new.test *.more.test:8443").stdout.splitlines()
    assert said[0] == f"{bottle} may now reach new.test, *.more.test:8443"
    assert said[1].startswith("policy 2: new.test, *.more.test:8443, ok.test (GET; dials 127.0.0.1:")
    assert notebook.run(f"%bottle allow {bottle} new.test").stdout.startswith(f"{bottle} could reach that already\n")
    cell = notebook.run(script(bottle, f"{_CURL} https://new.test || true", f"{_CURL} https://sub.more.test || true"))
    assert "failed new.test" in cell.stderr and "denied sub.more.test:443 (port)" in cell.stderr


def test_allow_gives_a_bottle_a_network(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}")
    assert "no network" in notebook.run(f"%bottle egress {bottle_name}").stdout
    assert (
        "policy 1: new.test\nCommands that start from now"
        in notebook.run(f"%bottle allow {bottle_name} new.test").stdout
    )
    cell = notebook.run(f"%%bottle {bottle_name} --rm\n{_CURL} https://other.test || true")
    assert "denied other.test" in cell.stderr


def test_wrong_hosts_are_told_and_change_nothing(notebook: Notebook, bottle: str) -> None:
    for host, part in {
        "https://api.test/v1": "Write host: api.test",
        "*": "too wide",
        "*.com": "too wide",
        "127.0.0.1": "is an address",
        "a.test:0": "the port is between",
        "a b": "not a host name",
        "good.test 'bad host'": "not a host name",
    }.items():
        quoted = host if "good" in host or " " not in host else f"'{host}'"
        cell = notebook.run(f"%bottle allow {bottle} {quoted}")
        assert cell.reply["ename"] == "UsageError" and part in cell.error, (host, cell.error)
        assert len(cell.error.splitlines()) <= 2
    assert ": policy 1: ok.test" in notebook.run(f"%bottle egress {bottle}").stdout


def test_the_table_folds_filters_and_outlives_the_bottle(notebook: Notebook, bottle: str) -> None:
    ask = f"for n in 1 2 3; do {_CURL} -o /dev/null https://ok.test/a; done; {_CURL} -o /dev/null https://key.test/b"
    notebook.run(script(bottle, ask, f"{_CURL} https://evil.test || true"))
    cell = notebook.run(f"%bottle egress {bottle}")
    assert cell.stdout.startswith(f"{bottle}: policy 1: ok.test (GET; dials ")
    shown = cell.displays[0]["text/plain"]
    rows = [line.split() for line in shown.splitlines()[1:]]
    assert [row[1:5] for row in rows] == [
        ["GET", "ok.test:443", "/a", "allowed"],
        ["GET", "key.test:443", "/b", "allowed"],
        ["CONNECT", "evil.test:443", "denied", "no-route"],
    ]
    assert [row[-1] for row in rows] == ["3", "1", "1"] and " 200 " in shown
    assert "<td" in cell.displays[0]["text/html"] and "sk-test" not in str(cell.messages)
    denied = notebook.run(f"%bottle egress {bottle} --denied").displays[0]["text/plain"]
    assert "evil.test:443" in denied and "ok.test" not in denied
    notebook.run(f"%bottle stop {bottle}")
    ended = notebook.run(f"%bottle egress {bottle}")
    assert ended.stdout.startswith(f"{bottle} is not running in this kernel; its last policy 1: ok.test")
    assert ended.displays[0]["text/plain"] == shown


def test_the_table_shows_hostile_paths_as_text(notebook: Notebook, bottle: str) -> None:
    target = "http://x.test/<script>alert(1)</script>"
    notebook.run(script(bottle, f"{_CURL} -g -o /dev/null '{target}'"))
    shown = notebook.run(f"%bottle egress {bottle}").displays[0]
    assert "/<script>" in shown["text/plain"] and "&lt;script&gt;" in shown["text/html"]
    assert "<script>" not in shown["text/html"]


def test_suggested_routes_can_be_pasted_and_do(notebook: Notebook, bottle: str) -> None:
    ask = f"{_CURL} -o /dev/null https://key.test/; {_CURL} https://new.test:8443 || true"
    notebook.run(script(bottle, ask))
    suggested = notebook.run(f"%bottle egress {bottle} --suggest").stdout
    assert "host: key.test" in suggested and "token_ref: BB_TOKEN" in suggested and "ok.test" not in suggested
    assert "host: new.test\n    port: 8443" in suggested
    notebook.run(f"%bottle stop {bottle}")
    assert notebook.run(f"%bottle egress {bottle} --suggest").stdout == suggested
    assert notebook.run(f"%%bottle_manifest {bottle}\n{suggested}").ok
    cell = notebook.run(f"%%bottle {bottle} --bottle {bottle} --rm\n{_CURL} https://key.test/x")
    assert '"marker": "service"' in cell.stdout


def test_names_and_refused_hosts_are_completed(notebook: Notebook, bottle: str) -> None:
    notebook.run(script(bottle, f"{_CURL} https://wanted.test || true"))
    assert notebook.complete(f"%bottle allow {bottle} wan")["matches"] == ["wanted.test"]
    notebook.run(f"%bottle stop {bottle}")
    assert notebook.complete(f"%bottle egress {bottle[:-1]}")["matches"] == [bottle]
    assert notebook.complete(f"%bottle allow {bottle[:-1]}")["matches"] == []


def test_the_audit_is_a_table_in_code(notebook: Notebook, bottle: str) -> None:
    notebook.run(script(bottle, f"{_CURL} -o /dev/null https://key.test/x?q=1", f"{_CURL} https://evil.test || true"))
    notebook.run(f"%bottle stop {bottle}")
    columns = ("verdict", "host", "path", "status", "injected")
    expected = [("allowed", "key.test", "/x", 200, True), ("denied", "evil.test", "", None, False)]
    notebook.run(f"import bb_jupyter, pandas; found = bb_jupyter.audit('{bottle}').query('event == \"egress\"')")
    notebook.run(f"found = found[{[*columns]}].astype(object)")
    rows = "print([*found.where(found.notna(), None).itertuples(index=False, name=None)])"
    assert notebook.run(rows).stdout == f"{expected}\n"
    notebook.run(f"import sys; sys.modules['pandas'] = None; found = bb_jupyter.audit('{bottle}')")
    rows = f"print([tuple(row[name] for name in {columns}) for row in found if row['event'] == 'egress'])"
    assert notebook.run(rows).stdout == f"{expected}\n"
    assert notebook.run("sys.modules['pandas'] = pandas; print(found[0]['time'].tzinfo)").stdout == "UTC\n"
    error = notebook.run("bb_jupyter.audit('nosuch')")
    assert error.reply["ename"] == "UsageError" and "no audit log of 'nosuch'" in error.reply["evalue"]


def gateways(notebook: Notebook) -> list[int]:
    """Return the processes of gateways that the kernel started."""
    kernel = notebook.manager.provisioner.pid
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"bb_jupyter.gateway" in words and parent == str(kernel):
            found.append(int(folder.name))
    return found


def test_a_gateway_that_dies_is_told_and_can_be_followed_by_another(new_notebook: NewNotebook) -> None:
    notebook = new_notebook(plain=True)
    notebook.run("%%bottle demo --allow ok.test")
    key = notebook.start(script("demo", "echo ready", "sleep 600"))
    notebook.until(key, lambda cell: "ready" in cell.stdout)
    (gateway,) = gateways(notebook)
    os.kill(gateway, signal.SIGKILL)
    told = "egress: the gateway of demo died: the bottle has no network — %bottle allow demo HOST starts a new one\n"
    notebook.until(key, lambda cell: told in cell.stderr)
    notebook.interrupt()
    assert notebook.finish(key).stderr == told
    assert "no gateway" in notebook.run("%bottle ls").stdout
    after = notebook.run(script("demo", f"{_CURL} https://ok.test || echo status $?"))
    assert after.stderr == told and "status" in after.stdout
    assert "the gateway died, nothing is reachable" in notebook.run("%bottle egress demo").stdout
    assert "policy 2: new.test, ok.test" in notebook.run("%bottle allow demo new.test").stdout
    assert "running" in notebook.run("%bottle ls").stdout
    again = notebook.run(script("demo", f"{_CURL} https://other.test || true"))
    assert again.stderr.startswith("egress: denied other.test:443")


@pytest.mark.parametrize(
    ("route", "part"),
    [
        ("host: a.test, auth: {scheme: bearer, token_ref: BB_NO_SUCH}", "environment variable BB_NO_SUCH"),
        ("host: a.test, auth: {scheme: bearer, token_ref: BB_EMPTY}", "BB_EMPTY is empty"),
        ("port: 443", "host"),
        ("host: '*'", "too wide"),
        ("host: '*.com'", "too wide"),
        ("host: 'https://api.test/v1'", "Write host: api.test"),
        ("host: a.test, auth: {scheme: digest, token_ref: BB_TOKEN}", "scheme"),
        ("host: a.test, resolve: '127.0.0.1:443', ca: /no/such.pem", "/no/such.pem"),
        ("host: a.test, resolve: '127.0.0.1:443', ca: /etc/hosts", "no certificate in PEM"),
    ],
)
def test_wrong_routes_are_told_in_two_lines(notebook: Notebook, bottle_name: str, route: str, part: str) -> None:
    notebook.run("%env BB_EMPTY=")
    cell = notebook.run(f"%%bottle_manifest {bottle_name}\negress: {{routes: [{{{route}}}]}}")
    if cell.ok:  # what only a launch can know
        cell = notebook.run(f"%%bottle {bottle_name} --bottle {bottle_name}")
    assert cell.reply["ename"] == "ManifestError" and part in cell.error, cell.error
    assert len(cell.error.splitlines()) <= 2 and "Traceback" not in cell.error
    assert bottle_name not in notebook.run("%bottle ls").stdout


def test_a_server_that_cannot_be_trusted_or_reached_is_named(
    notebook: Notebook, service: Service, bottle_name: str
) -> None:
    wrong = {**service.route("wrong.test", methods=["GET"]), "ca": ""}
    del wrong["ca"]
    down = {"host": "down.test", "methods": ["GET"], "resolve": "127.0.0.1:1"}
    define(notebook, bottle_name, wrong, down)
    ask = f"{_CURL} -w '%{{http_code}} ' https://wrong.test https://down.test"
    cell = notebook.run(f"%%bottle {bottle_name} --bottle {bottle_name} --rm\n{ask}")
    assert "bottle: wrong.test:443: its certificate is not valid: " in cell.stdout and cell.stdout.count("502 ") == 2
    assert "egress: failed wrong.test:443: its certificate is not valid: " in cell.stderr
    assert "egress: failed down.test:443: connection refused" in cell.stderr
    assert not [arrived for arrived in service.requests if arrived.headers.get("Host") == "wrong.test"]
    shown = notebook.run(f"%bottle egress {bottle_name}").displays[-1]["text/plain"]
    assert shown.count("failed") == 2 and "its certificate is not valid" in shown
