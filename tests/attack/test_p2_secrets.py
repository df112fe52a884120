"""P2: no secret inside, and none in anything that is shown or written."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tarfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from bb_jupyter import manifest
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleError, ManifestError
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan
from bb_jupyter.gateway.proxy.redact import Masker
from bb_jupyter.selftest import CHECKS, Canary, Probe, selftest
from tests.attack.conftest import TOKEN, TOKEN_REF, Walled, yaml_of
from tests.attack.service import Service
from tests.contract.conftest import Launch, out
from tests.leftovers import SLUG_LABEL, Engine

SECRETS = [check for check in CHECKS if check.__module__.endswith(".secrets")]
MASKER = Masker([TOKEN])


@pytest.fixture
def armed(
    launch: Launch, service: Service, bottle_name: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], BottleHandle]:
    """Launch a bottle with a credential on one of its two routes."""
    monkeypatch.setenv(TOKEN_REF, TOKEN)
    auth = {"scheme": "bearer", "token_ref": TOKEN_REF}
    routes = service.route("secret.test", auth=auth), service.route("read.test", methods=["GET"])
    manifest.define_bottle(bottle_name, yaml_of(*routes))
    return lambda: launch(bottle=bottle_name)


def test_no_secret_in_the_bottle_its_plan_or_its_records(walled: Walled) -> None:
    assert walled.curl("https://secret.test/reflect").stdout.endswith(b"\n500")
    verdicts = selftest(walled.handle, checks=SECRETS)
    assert [str(verdict) for verdict in verdicts if verdict.ok is not True] == []


def test_every_file_written_for_the_bottle_is_clean(armed: Callable[[], BottleHandle], home: Path) -> None:
    handle = armed()
    execution, log = handle.run("env; curl -sS https://secret.test/reflect; cat /proc/*/environ 2>/dev/null; :")
    execution.wait()
    log.close()
    handle.exec(
        ["curl", "-sS", f"https://read.test/{quote(TOKEN)}", "-d", "x"]
    ).wait()  # should it ever come back that way
    for path in (path for path in home.rglob("*") if path.is_file()):
        assert not MASKER.finds(path.read_bytes()), path
    assert any(path.suffix == ".jsonl" for path in (home / "audit").iterdir())


def test_the_credential_goes_to_its_host_and_to_no_other(walled: Walled) -> None:
    arrived = walled.service.requests
    assert walled.curl("https://secret.test/echo").stdout.endswith(b"\n200")
    assert arrived[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    assert arrived[-1].secure
    assert walled.curl("https://key.test/echo").stdout.endswith(b"\n200")
    assert arrived[-1].headers["X-Api-Key"] == TOKEN
    assert "Authorization" not in arrived[-1].headers
    for done in (
        walled.curl("https://read.test/echo"),
        walled.curl("http://plain.test/echo"),
        walled.end_to_end("https://ok.test/echo"),
        walled.curl("-H", "Host: secret.test", "http://plain.test/echo"),
        walled.curl("http://secret.test/echo"),
        walled.curl("--proxytunnel", "http://secret.test/echo"),
        walled.curl("http://secret.test:443/echo"),
    ):
        assert not MASKER.finds(done.stdout + done.stderr)
    late = [one for one in arrived if MASKER.finds(repr(one).encode()) and one.headers["Host"] not in _OWN_HOSTS]
    assert late == []
    assert all(one.secure for one in arrived if MASKER.finds(repr(one).encode()))


_OWN_HOSTS = ("secret.test", "key.test")


def test_a_redirect_does_not_carry_the_credential_away(walled: Walled) -> None:
    done = walled.curl("-L", "--max-redirs", "3", "--location-trusted", "https://secret.test/moved")
    assert not MASKER.finds(done.stdout + done.stderr)
    assert all(one.headers["Host"] in _OWN_HOSTS for one in walled.service.requests if TOKEN in repr(one))


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer mine",
        "X-Api-Key: mine",
        "X_Api_Key: mine",  # CGI and WSGI servers take both for one
        "Cookie: a=mine",
        "Proxy-Authorization: mine",
        "Proxy_Authorization: mine",
    ],
)
def test_the_agents_own_credentials_are_taken_away(walled: Walled, header: str) -> None:
    for host in _OWN_HOSTS:
        assert walled.curl("-H", header, f"https://{host}/echo").stdout.endswith(b"\n200")
        assert "mine" not in json.dumps(walled.service.requests[-1].headers)
        assert MASKER.finds(json.dumps(walled.service.requests[-1].headers).encode())


def test_a_credential_that_the_server_reflects_is_masked(walled: Walled) -> None:
    done = walled.curl("-i", "https://secret.test/reflect")
    assert b"error: bad credential Bearer ****" in done.stdout
    assert not MASKER.finds(done.stdout + done.stderr)
    plain = walled.curl("-i", "-H", "Authorization: Bearer of-the-agent", "https://read.test/reflect")
    assert b"Bearer of-the-agent" in plain.stdout  # what is the agent's own is not touched where nothing is injected


def test_no_process_shows_the_secret_while_a_bottle_starts_and_works(armed: Callable[[], BottleHandle]) -> None:
    started: list[str] = []
    watching = True

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"):
            started.append(repr(arguments))

    sys.addaudithook(hear)  # it cannot be removed again, only told to sleep
    seen: list[bytes] = []
    done = threading.Event()
    looking = threading.Thread(target=lambda: seen.extend(_arguments_until(done)))
    looking.start()
    try:
        handle = armed()
        out(handle, "curl -sS https://secret.test/echo")
        handle.cp_in(Path(__file__), "file")
        inside = _host_processes(handle)
    finally:
        watching = False
        done.set()
        looking.join()
    handle.stop()
    assert [line for line in started if MASKER.finds(line.encode())] == []
    assert seen == []
    assert [line for line in inside if MASKER.finds(line)] == []


def _arguments_until(done: threading.Event) -> Iterator[bytes]:
    """Look at the command line of every process of this machine, again and again."""
    while not done.wait(0.02):
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = file.read_bytes()
            except OSError:
                continue
            if MASKER.finds(line):
                yield line


def _host_processes(handle: BottleHandle) -> list[bytes]:
    """Return the environment of the processes that this one has started: guest, gateway."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in task.read_text().split():
            try:
                found.append(Path(f"/proc/{pid}/environ").read_bytes())
            except OSError:
                continue
    return found


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "tab\tular"])
@pytest.mark.parametrize("scheme", ["bearer", "header"])
def test_a_credential_that_is_not_there_stops_the_launch(
    launch: Launch,
    session: Session,
    bottle_name: str,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    value: str | None,
    scheme: str,
) -> None:
    monkeypatch.delenv("BB_UNSET_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("BB_UNSET_TOKEN", value)
    more = {"header": "X-Key"} if scheme == "header" else {}
    auth = {"scheme": scheme, "token_ref": "BB_UNSET_TOKEN", **more}
    manifest.define_bottle(bottle_name, yaml_of({"host": "ok.test", "auth": auth}))
    with pytest.raises(ManifestError, match="BB_UNSET_TOKEN") as told:
        launch(bottle=bottle_name)
    assert len(str(told.value).splitlines()) <= 2
    assert "lines" not in str(told.value)
    assert session.handles() == []
    assert not (home / "audit").exists()


def test_an_empty_secret_file_stops_the_launch(launch: Launch, bottle_name: str, home: Path) -> None:
    (home / "secrets").mkdir(mode=0o700)
    (home / "secrets/EMPTY").write_text("\n")
    manifest.define_bottle(
        bottle_name, yaml_of({"host": "ok.test", "auth": {"scheme": "bearer", "token_ref": "EMPTY"}})
    )
    with pytest.raises(ManifestError, match="empty"):
        launch(bottle=bottle_name)


def test_no_traceback_and_no_repr_quotes_a_secret(
    armed: Callable[[], BottleHandle], monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    handle = armed()
    texts = [
        repr(handle),
        repr(handle.bottle.network),
        repr(session.active()),
        str(handle.plan),
        handle.plan._repr_html_(),
    ]
    monkeypatch.setenv(TOKEN_REF, f"{TOKEN}\nnext")
    for act in (
        lambda: handle.bottle.allow(EgressPlan((RoutePlan("x.test", auth_scheme="bearer", token_ref=TOKEN_REF),))),
        lambda: session.launch(
            "other", LaunchOptions(backend=handle.plan.spec.backend, bottle=handle.plan.spec.manifest.name)
        ),
    ):
        with pytest.raises(BottleError) as told:
            act()
        frames = traceback.TracebackException.from_exception(told.value, capture_locals=False)
        texts.append("".join(frames.format()))
    assert [text for text in texts if MASKER.finds(text.encode())] == []


def test_an_agent_cannot_find_its_gateways_memory_or_files(walled: Walled) -> None:
    found = out(
        walled.handle,
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; ls -la /proc/*/fd 2>/dev/null; :",
    )
    assert "bb_jupyter.gateway" not in found
    assert not MASKER.finds(found.encode())
    for form in (TOKEN, base64.b64encode(TOKEN.encode()).decode()):
        assert form not in found


@pytest.mark.bubblewrap
@pytest.mark.parametrize("backend", ["bubblewrap"], indirect=True)
def test_settings_of_the_machine_are_not_lent_with_its_programs(launch: Launch) -> None:
    """A global npmrc or pip.conf below /usr may hold a registry's token."""
    places = "/usr/etc /usr/local/etc /usr/pip.conf /usr/lib/node_modules/npm/npmrc"
    assert out(launch(), f"find {places} -type f -size +0 2>/dev/null || :") == ""


@pytest.mark.docker
@pytest.mark.parametrize("backend", ["docker"], indirect=True)
def test_docker_shows_no_secret(engine: Engine, armed: Callable[[], BottleHandle]) -> None:
    """Neither `docker inspect` of its containers and volumes, nor history and layers of its images."""
    handle = armed()
    with engine.client() as client:
        mine = {"label": f"{SLUG_LABEL}={handle.plan.slug}"}
        containers = client.containers.list(filters=mine)
        containers = [container for container in containers if "handoff" not in container.name]  # it may go any time
        assert len(containers) == 2
        shown = [json.dumps(container.attrs) for container in containers]
        shown += [json.dumps(volume.attrs) for volume in client.volumes.list(filters=mine)]
        images = {container.image.id: container.image for container in containers}
        for image in images.values():
            shown += [json.dumps(image.attrs), json.dumps(image.history())]
        shown += [container.logs().decode("latin-1") for container in containers if _has_log(container)]
        changed = [_changes(container) for container in containers]
    assert [text[:80] for text in shown if MASKER.finds(text.encode())] == []
    assert not any(MASKER.finds(data) for data in changed)


def _has_log(container: object) -> bool:
    return container.attrs["HostConfig"]["LogConfig"]["Type"] != "none"  # type: ignore[attr-defined, no-any-return]


def _changes(container: object) -> bytes:
    """Return the contents of every file that a container added or changed."""
    found = b""
    for change in container.diff() or ():  # type: ignore[attr-defined]
        if change["Kind"] == 2 or not change["Path"].startswith(("/home", "/tmp", "/run", "/etc", "/var")):
            continue
        stream, _ = container.get_archive(change["Path"])  # type: ignore[attr-defined]
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            found += b"".join(archive.extractfile(m).read() for m in archive if m.isfile())  # type: ignore[union-attr]
    return found


def test_the_agent_cannot_ask_its_gateway_for_the_control_channel(walled: Walled) -> None:
    """Neither control socket nor handoff socket is anywhere in the bottle."""
    sockets = out(walled.handle, "cat /proc/net/unix; find / -xdev -type s 2>/dev/null; :")
    assert "control" not in sockets
    assert "hand_off" not in sockets


def test_the_canary_secret_of_a_selftest_is_looked_for(canary: Canary, walled: Walled) -> None:
    """The check itself: a bottle that has been given the secret is found out."""
    walled.handle.exec(["sh", "-c", 'cat > "$HOME/.token"'], stdin=canary.secret.encode()).wait()
    try:
        verdicts = [check(Probe(walled.handle, canary)) for check in SECRETS]
    finally:
        walled.handle.exec(["rm", ".token"]).wait()
    assert [verdict.promise for verdict in verdicts if not verdict.ok] == ["P2.files"]
    assert os.environ["BB_SELFTEST_TOKEN"] == canary.secret
