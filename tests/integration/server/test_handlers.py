"""The REST handlers: who may call them, what they refuse, what they tell and do."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from bb_jupyter.approvals import LivenessLock, Queue, status
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.webapi.routes import ROUTES
from tests.integration.server.conftest import Call
from tests.leftovers import Engine

#: Every path there is, with an argument that could be meant, and all it can be called with.
PATHS = {
    "where": ["GET"],
    "bottles": ["GET"],
    "bottles/demo-0a1b2c3d": ["DELETE"],
    "bottles/demo-0a1b2c3d/log": ["GET"],
    "bottles/demo-0a1b2c3d/egress": ["GET"],
    "bottles/demo-0a1b2c3d/allow": ["POST"],
    "approvals": ["GET"],
    "approvals/1": ["GET", "POST"],
}


def test_every_route_is_tried_below() -> None:
    assert sorted(methods for route in ROUTES for methods in [[*route.methods]]) == sorted(PATHS.values())


def test_nobody_without_the_token(anonymous: Call) -> None:
    for path in PATHS:
        for method in ("GET", "POST", "DELETE"):
            assert anonymous(f"bb-jupyter/{path}", method).status == 403, (method, path)


def test_a_page_of_another_origin_changes_nothing(anonymous: Call, jp_serverapp: Any) -> None:
    """It has the cookie of the login with it, but neither the token nor the header that proves its origin."""
    login = anonymous(f"lab?token={jp_serverapp.token}")
    cookies = "; ".join(cookie.partition(";")[0] for cookie in login.headers.get_list("Set-Cookie"))
    assert "username-" in cookies
    for path, methods in PATHS.items():
        for method in {*methods} - {"GET"}:
            answer = anonymous(f"bb-jupyter/{path}", method, "{}", Cookie=cookies)
            assert answer.status == 403 and "_xsrf" in answer.text, (method, path)


def test_a_method_that_a_route_does_not_have(call: Call) -> None:
    assert call("bottles", "POST", {}).status == 405


@pytest.mark.parametrize("what", ["/log", "/egress", ""])
def test_what_is_no_slug_is_no_bottle(call: Call, what: str) -> None:
    for slug in ("..", "%2e%2e", "..%2fstate", "a%2fb", "UPPER", "-x", "a" * 65, "a.b", "a%00b", "a%0a", "%C3%A9"):
        assert call(f"bottles/{slug}{what}", "GET" if what else "DELETE").status == 404, slug


def test_what_is_no_number_is_no_proposal(call: Call) -> None:
    for number in ("0", "-1", "1e3", "01", "9999999999999", "x", "1%2f..%2f2", "1%0a"):
        assert call(f"approvals/{number}").status == 404, number
    unknown = call("approvals/7")
    assert unknown.status == 404 and "no request 7" in unknown.json["message"]


def test_numbers_are_checked(call: Call) -> None:
    for query in ("offset=x", "offset=1e9", "run=-1", "offset=-999999999999"):
        answer = call(f"bottles/demo-0a1b2c3d/log?{query}")
        assert answer.status == 400 and "not a number" in answer.json["message"], query


def test_bodies_are_checked(call: Call, anonymous: Call, jp_serverapp: Any) -> None:
    path = "bottles/demo-0a1b2c3d/allow"
    for body in ([], "x", 1, {"host": 1}, {"host": "a" * 301}):
        assert call(path, "POST", body).status == 400, body
    token = {"Authorization": f"token {jp_serverapp.token}"}
    assert anonymous(f"bb-jupyter/{path}", "POST", "{", **token).status == 400


def test_an_unknown_bottle_is_said_to_be_unknown(call: Call) -> None:
    answer = call("bottles/demo-0a1b2c3d", "DELETE")
    assert (answer.status, answer.json["message"]) == (400, "this bottle does not run any more")
    assert call("bottles").json == {"bottles": []}


def test_a_proposal_is_told_exactly_and_decided_once(call: Call) -> None:
    slug = f"demo-{secrets.token_hex(4)}"
    presence, queue = LivenessLock(slug), Queue(slug, "demo")
    proposal = queue.propose("question", {"question": "<b>May I?</b>", "choices": []})
    path = f"approvals/{proposal.id}"
    [told] = call("approvals").json["approvals"]
    assert (told["id"], told["token"], told["content"]) == (proposal.id, proposal.token, dict(proposal.content))
    right = {"verdict": "denied", "token": proposal.token, "why": "no"}
    assert call(path, "POST", {**right, "token": "0" * 64}).status == 409
    for wrong in ({"token": ""}, {"verdict": "maybe"}, {"why": 1}, {"verdict": "approved", "refs": "x"}):
        assert call(path, "POST", {**right, **wrong}).status == 400, wrong
    assert status(proposal.id).state == "pending"
    assert call(path, "POST", right).json["state"] == "denied"
    again = call(path, "POST", {**right, "verdict": "approved", "answer": "yes"})
    assert again.status == 409 and "already" in again.json["message"]
    presence.close()


def test_a_bottle_is_told_read_allowed_and_stopped(call: Call, bottle_name: str) -> None:
    session = Session()
    try:
        handle = session.launch(bottle_name, LaunchOptions(backend="bubblewrap", allow=("docs.example.org",)))
        execution, log = handle.run("printf 'first\\nzweite Zeile ✓\\n'")
        execution.wait()
        log.close()
        path = f"bottles/{handle.slug}"
        [bottle] = call("bottles").json["bottles"]
        assert (bottle["slug"], bottle["last"], bottle["kernel"]) == (handle.slug, "zweite Zeile ✓", "")
        read = call(f"{path}/log?offset=6").json
        assert (read["text"], read["run"], read["next"]) == ("zweite Zeile ✓\n", 1, read["size"])
        assert call(f"{path}/allow", "POST", {"host": "more.example.org"}).status == 200
        assert any("more.example.org" in route for route in call(f"{path}/egress").json["routes"])
        refused = call(f"{path}/allow", "POST", {"host": "not a host"})
        assert refused.status == 400 and "not a host" in refused.json["message"]
        assert call(path, "DELETE").json == {"stopped": bottle_name}
        assert not handle.bottle.alive
    finally:
        session.close()


@pytest.mark.docker
def test_what_a_container_uses_is_told(call: Call, bottle_name: str, engine: Engine) -> None:
    """Its processes are another user's, as a rule: what anybody may read of them is enough."""
    session = Session()
    try:
        handle = session.launch(bottle_name, LaunchOptions(backend="docker", image=engine.base_image))
        execution, log = handle.run("while :; do :; done")
        deadline, bottle = time.monotonic() + 60, {"cpu": None}
        while not bottle["cpu"] and time.monotonic() < deadline:
            [bottle] = call("bottles").json["bottles"]
        assert bottle["cpu"] > 0 and 100_000 < bottle["memory"] < 1 << 30
        execution.kill()
        execution.wait()
        log.close()
    finally:
        session.close()
