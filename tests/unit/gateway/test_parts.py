"""Parts that need no process: the hello, the masks, the log, suggestions, plans, what an import costs."""

from __future__ import annotations

import base64
import ssl
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bb_jupyter.broker.broker_plan import GitGatePlan, GitRepoPlan
from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.gateway.audit.audit_log import AuditLog, audit_dir, read
from bb_jupyter.gateway.audit.suggest import suggest
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan, egress_plan, gateway_config
from bb_jupyter.gateway.proxy.ca import LeafAuthority
from bb_jupyter.gateway.proxy.client_hello import ClientHello, NotTls, read_client_hello
from bb_jupyter.gateway.proxy.redact import MaskedStream, Masker
from bb_jupyter.manifest import Auth, Route
from bb_jupyter.policy.routes import RouteConfig

SECRET = "s3cr+t/Value with=spaces&more"


def hello_bytes(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def with_extension(record: bytes, extension: bytes) -> bytes:
    """Append an extension to a ClientHello and mend the four lengths around it."""
    body = bytearray(record[9:])
    at = 34 + 1 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    size = int.from_bytes(body[at : at + 2], "big") + len(extension)
    body[at : at + 2] = size.to_bytes(2, "big")
    body += extension
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return record[:3] + len(message).to_bytes(2, "big") + message


def test_hello_is_read() -> None:
    data = hello_bytes("a.test")
    assert read_client_hello(data) == ClientHello("a.test", encrypted=False)
    assert read_client_hello(hello_bytes(None)) == ClientHello("", encrypted=False)
    assert all(read_client_hello(data[:size]) is None for size in range(len(data)))
    body = data[5:]
    half = len(body) // 2
    split = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in (body[:half], body[half:]))
    assert read_client_hello(split) == ClientHello("a.test", encrypted=False)


def test_encrypted_hello_is_recognised_and_a_second_name_refused() -> None:
    data = hello_bytes("a.test")
    assert read_client_hello(with_extension(data, b"\xfe\x0d\0\x01\0")) == ClientHello("a.test", encrypted=True)
    with pytest.raises(NotTls):
        read_client_hello(with_extension(data, b"\0\0\0\x09\0\x07\0\0\x04evil"))


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=300), at=st.integers(0, 200))
def test_damaged_hello_is_refused_or_waits(junk: bytes, at: int) -> None:
    data = hello_bytes("a.test")
    try:
        read_client_hello(data[:at] + junk + data[at + len(junk) :])
        read_client_hello(junk)
    except NotTls:
        pass


def test_hello_in_too_many_records_is_refused() -> None:
    crumbs = b"".join(b"\x16\x03\x01\0\x01" + bytes([c]) for c in hello_bytes("a.test")[5:])
    with pytest.raises(NotTls):
        read_client_hello(crumbs)


@settings(max_examples=150, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=12), before=st.binary(max_size=4), after=st.binary(max_size=4))
def test_masks_work_across_any_chunk_border(cuts: list[int], before: bytes, after: bytes) -> None:
    raw = SECRET.encode()
    text = before + raw + after + base64.b64encode(before + raw + after) + base64.urlsafe_b64encode(raw) + raw
    stream, out = MaskedStream(Masker([SECRET])), b""
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    for start, end in pairwise(edges):
        out += stream.feed(text[start:end])
    out += stream.finish()
    assert len(out) == len(text)
    assert raw not in out
    assert base64.b64encode(raw)[:-4] not in out
    assert out.count(b"*") >= 4 * len(raw)


@pytest.mark.parametrize(
    "shown",
    [
        lambda c: f"%{ord(c):02x}", lambda c: f"%25{ord(c):02X}", lambda c: f"&#{ord(c)};", lambda c: f"&#x{ord(c):X};",
        lambda c: f"\\u{ord(c):04x}", lambda c: f"\\x{ord(c):02x}", lambda c: {"/": "&#x2F;", "=": "&#x3D;"}.get(c, c),
        lambda c: {"+": "\\u002B"}.get(c, c), lambda c: {"+": "&#x2B;"}.get(c, c), lambda c: {"=": "=3D"}.get(c, c),
        str.upper, str.lower,
    ],
)  # fmt: skip
def test_what_quotes_a_secret_in_its_own_syntax_is_masked(shown: Callable[[str], str]) -> None:
    secret = "sk-Ab/Cd+Ef=0123456789_xyz.End"
    text = "".join(c if c.isalnum() and shown not in (str.upper, str.lower) else shown(c) for c in secret).encode()
    masker = Masker([secret, "another-Secret/value"])
    assert masker.mask(b'{"' + text + b'"}') == b'{"' + b"*" * len(text) + b'"}'
    assert (masker.position(b"at " + text), masker.position(b"0123456789 End")) == (3, -1)
    assert not masker.finds(b"a word of it alone: 0123456789")


def test_masks_hold_nothing_back_needlessly() -> None:
    stream = MaskedStream(Masker([SECRET]))
    assert stream.feed(b"data: token\n\n") == b"data: token\n\n"
    assert SECRET not in repr(Masker([SECRET]))
    assert Masker([]).mask(b"x") == b"x"


def test_a_long_token_takes_little_memory_and_is_masked_across_chunks() -> None:
    token = "eyJ" + base64.urlsafe_b64encode(bytes(number * number % 251 for number in range(3000))).decode()
    tracemalloc.start()
    try:
        stream = MaskedStream(Masker([token]))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    shown = stream.feed(token[:-1].encode()) + stream.feed(token[-1:].encode()) + stream.finish()
    assert shown == b"*" * len(token)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOT_BOTTLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_audit_log_is_private_appended_and_rotated() -> None:
    log = AuditLog("demo-0a1b2c3d", rotate_bytes=2000)
    for number in range(60):
        log.append([{"event": "egress", "time": number, "host": "a.test"}])
    log.close()
    log.close()
    again = AuditLog("demo-0a1b2c3d", rotate_bytes=2000)
    again.append([{"event": "egress", "time": 60}])
    again.close()
    assert stat.S_IMODE(again.path.stat().st_mode) == 0o600
    assert 1 < len([*audit_dir().iterdir()]) <= 5
    with again.path.open("ab") as file:
        file.write(b'{"cut": "sho')
    assert [event["time"] for event in read("demo")] == [*range(61)]
    assert read("demo-0a1b2c3d") == read("demo")
    with pytest.raises(UsageError):
        read("other")
    with pytest.raises(UsageError):
        AuditLog("../x")


def test_suggestion_is_the_smallest_list_that_would_do() -> None:
    routes = [
        RoutePlan("api.test", methods=("GET",), auth_scheme="header", auth_header="X-Key", token_ref="KEY"),
        RoutePlan("paths.test", paths=("/a",)),
        RoutePlan("unused.test"),
        RoutePlan("down.test"),
    ]

    def event(verdict: str, host: str, rule: str = "", **more: object) -> dict[str, object]:
        return {"event": "egress", "verdict": verdict, "host": host, "port": 443, "rule": rule, **more}

    events = [
        event("allowed", "api.test", scheme="https", method="GET", path="/"),
        event("denied", "api.test", "method", scheme="https", method="POST", path="/"),
        event("denied", "paths.test", "path", scheme="https", method="GET", path="/b: [evil]\n"),
        event("denied", "new.test", "no-route", method="CONNECT"),
        event("denied", "new.test", "no-route", method="CONNECT"),
        {**event("denied", "web.test", "no-route", scheme="http"), "port": 80},
        {**event("denied", "new.test", "port"), "port": 8443},
        {**event("", "down.test"), "event": "egress-failed", "reason": "the name does not resolve"},
        event("denied", "rebind.test", "address"),
        event("denied", "10.0.0.1", "ip-literal"),
        event("denied", "x.test", "sni-mismatch"),
        {"event": "egress", "verdict": "denied", "rule": "bad-request"},
    ]
    text = suggest(events, routes)
    found = yaml.safe_load(text)["egress"]["routes"]
    assert found == [
        {
            "host": "api.test",
            "methods": ["GET", "POST"],
            "auth": {"scheme": "header", "header": "X-Key", "token_ref": "KEY"},
        },
        {"host": "down.test"},
        {"host": "new.test"},
        {"host": "new.test", "port": 8443},
        {"host": "paths.test", "paths": ["/a", "/b: [evil]\n"]},
        {"host": "web.test", "scheme": "http"},
    ]
    assert yaml.safe_load(suggest([])) == {"egress": {"routes": []}}


def test_git_servers_are_looked_into() -> None:
    urls = ("ssh://git@git.example.org:22/a", "me@scp.example.org:a/b.git", "https://web.example.org/x", "/srv/local")
    gate = GitGatePlan(tuple(GitRepoPlan(f"r{number}", url) for number, url in enumerate(urls)))
    assert gate.hosts == ("git.example.org", "scp.example.org", "web.example.org")
    names = ("git.example.org", "*.example.org", "github.com", "plain.test")
    plan = egress_plan([Route(host=name) for name in names], git_hosts=gate.hosts)
    assert [route.inspect for route in plan.routes] == [True, True, True, False]
    assert "no git" in str(plan.routes[2])
    assert gateway_config(plan, slug="s", name="n", resolve_token=str).routes[2].intercepted


def test_plan_merges_and_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(LeafAuthority("theirs").cert_pem)
    own = Route(host="api.test", auth=Auth(scheme="bearer", token_ref="MY_KEY"), ca=str(ca), resolve="10.0.0.1")
    plan = egress_plan(
        [own], provider=[Route(host="api.test"), Route(host="cdn.test")], allowed=[Route(host="more.test")]
    )
    assert [route.host for route in plan.routes] == ["more.test", "api.test", "cdn.test"]
    assert "MY_KEY" in plan.summary()
    assert "10.0.0.1" in plan.summary()
    config = gateway_config(plan, slug="s", name="n", resolve_token={"MY_KEY": SECRET}.__getitem__)
    assert config.routes[1].auth is not None
    assert config.routes[1].auth.value() == f"Bearer {SECRET}"
    assert config.routes[1].ca_pem == ca.read_text()
    assert SECRET not in repr(plan) + repr(config) + plan.summary()
    with pytest.raises(ManifestError, match="is empty"):
        gateway_config(plan, slug="s", name="n", resolve_token=lambda _: "")
    ca.write_text("PEM")
    with pytest.raises(ManifestError, match="it is no certificate in PEM"):
        gateway_config(plan, slug="s", name="n", resolve_token=lambda _: SECRET)
    ca.unlink()
    with pytest.raises(ManifestError, match="No such file"):
        gateway_config(plan, slug="s", name="n", resolve_token=lambda _: SECRET)
    assert EgressPlan().summary().startswith("nothing")
    assert RouteConfig("a.test").intercepted is False


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("bb_jupyter.gateway", ("aiohttp", "cryptography", "pydantic")),
        ("bb_jupyter.gateway.control.gateway_client", ("aiohttp", "cryptography", "pydantic", "asyncio")),
        ("bb_jupyter.gateway.egress_plan", ("aiohttp", "cryptography", "pydantic")),
        ("bb_jupyter.gateway.handoff.send_listener", ("aiohttp", "cryptography", "pydantic")),
        ("bb_jupyter.gateway.gateway_process", ("pydantic", "bb_jupyter.manifest", "yaml", "IPython")),
    ],
)
def test_imports_stay_light(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
