"""What a run, and the whole experiment, may use."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bb_jupyter.experiment import Variant, load
from tests.integration.experiment.conftest import New

pytestmark = pytest.mark.bubblewrap


class _Handler(BaseHTTPRequestHandler):
    served = 0

    def do_GET(self) -> None:
        size = 1 << (40 if self.path == "/endless" else 20)
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        block = bytes(1 << 16)
        with contextlib.suppress(ConnectionError):
            for _ in range(size // len(block)):
                self.wfile.write(block)
                type(self).served += len(block)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    _Handler.served = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def bottle_to(server: ThreadingHTTPServer, home: Path) -> None:
    """Write a bottle that reaches the test's own server."""
    (home / "bottles").mkdir(exist_ok=True)
    port = server.server_address[1]
    text = f'---\negress: {{routes: [{{host: big.test, scheme: http, resolve: "127.0.0.1:{port}"}}]}}\n---\n'
    (home / "bottles" / "web.md").write_text(text)


_FETCH = "python3 -c \"import urllib.request as u; print(len(u.urlopen('http://big.test/').read()))\""
_FETCH_ENDLESS = (
    'python3 -c "import shutil, urllib.request as u;'
    " shutil.copyfileobj(u.urlopen('http://big.test/endless'), open('/dev/null', 'wb'))\""
)


def test_over_its_bytes_a_run_is_stopped_at_the_gateway(new: New, home: Path, server: ThreadingHTTPServer) -> None:
    bottle_to(server, home)
    script = f"{_FETCH}; for i in 1 2 3 4 5 6 7 8; do {_FETCH} || true; done; sleep 300"
    done = new(bottles="web", prompts=script, limits={"egress": "2m"}).run()
    (run,) = done.runs()
    assert (run.state, run.counted) == ("stopped", True) and "egress" in run.reason
    assert run.outcome and run.outcome.egress["down"] < 5 << 20 and _Handler.served < 9 << 20
    assert any(row["event"] == "budget" for row in run.egress)
    assert run.seconds and run.seconds < 200


def test_within_its_bytes_a_run_is_left_alone(new: New, home: Path, server: ThreadingHTTPServer) -> None:
    bottle_to(server, home)
    done = new(bottles="web", prompts=_FETCH, limits={"egress": "5m"}).run()
    (run,) = done.runs()
    assert run.passed and run.outcome and run.outcome.egress["requests"] == 1
    assert run.outcome.egress["down"] >= 1 << 20


def test_the_whole_experiment_keeps_to_its_bytes(new: New, home: Path, server: ThreadingHTTPServer) -> None:
    bottle_to(server, home)
    done = new(bottles="web", prompts=_FETCH, repeats=12, budget={"egress": "1500k"}).run(workers=1)
    assert "egress" in done.stopped and sum(run.counted for run in done.runs()) == 1
    assert len(load("demo").runs()) == 12


@pytest.mark.parametrize("workers", [1, 3])
def test_the_whole_experiment_keeps_to_its_bytes_while_they_flow(
    new: New, home: Path, server: ThreadingHTTPServer, workers: int
) -> None:
    bottle_to(server, home)
    given = {"bottles": "web", "prompts": _FETCH_ENDLESS, "repeats": 6}
    done = new(**given, budget={"egress": "3m"}).run(workers=workers)
    assert done.stopped == "the experiment is over its egress of 3 MiB"
    assert not any(run.counted for run in done.runs()), "what the experiment ends is no result"
    used = sum(run.outcome.egress["down"] for run in done.runs() if run.outcome and run.outcome.egress)
    assert 3 << 20 < used <= workers * ((3 << 20) + (1 << 20)), "each run's gateway knows what is left"
    assert done.resume(workers=1).stopped == done.stopped
    assert max(run.attempts for run in done.runs()) == 1, "nothing begins when all is used up"


def test_hidden_tests_have_what_bytes_are_left(
    new: New, home: Path, server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    """What the agent left may run there, too."""
    bottle_to(server, home)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.sh").write_text(_FETCH_ENDLESS)
    check = {"command": "sh t.sh; exit 1", "hidden": str(tmp_path / "tests"), "bottle": "web"}
    done = new(bottles="web", prompts=_FETCH, check=check, limits={"egress": "3m"}).run()
    (run,) = done.runs()
    assert run.outcome and run.state == "failed" and run.outcome.egress["requests"] == 2
    assert 3 << 20 < run.outcome.egress["down"] < 4 << 20


def test_a_run_has_its_time(new: New) -> None:
    began = time.monotonic()
    done = new(prompts={"quick": "true", "slow": "sleep 300"}, limits={"time": "6s"}).run()
    quick, slow = done.runs()
    assert quick.passed and (slow.state, slow.counted) == ("stopped", True) and "time of 6s" in slow.reason
    assert time.monotonic() - began < 120


def provider(home: Path) -> None:
    """Write a provider of the user's own whose agent says what it used, then goes on for long."""
    folder = home / "contrib" / "spender"
    folder.mkdir(parents=True)
    (folder / "agent_provider.py").write_text(
        """
from bb_jupyter.agent import AgentCommand, AgentProvider, AgentProvisionPlan

class Spender(AgentProvider):
    title = "spender"

    def provision_plan(self, request):
        return AgentProvisionPlan(self.name, self.title)

    def command(self, prompt, *, resume=""):
        return AgentCommand(("sh", "-c", prompt), b"")
"""
    )


_USED = """echo '{"type": "usage", "input_tokens": %d, "output_tokens": 10, "cost": %s}'; sleep %d; echo ok"""


@pytest.mark.parametrize(
    ("limits", "reason"), [({"tokens": 1000}, "tokens: 5,010 of 1,000"), ({"money": 1.5}, "money: $2.0000 of $1.5000")]
)
def test_a_run_keeps_to_its_tokens_and_money(new: New, home: Path, limits: dict[str, float], reason: str) -> None:
    provider(home)
    prompts = {"greedy": _USED % (5000, "2.0", 300), "modest": _USED % (500, "0.25", 0)}
    done = new(agents="spender", prompts=prompts, limits=limits).run()
    greedy, modest = done.runs()
    assert modest.passed and modest.cost == 0.25 and modest.tokens == 510
    assert (greedy.state, greedy.counted) == ("stopped", True) and reason in greedy.reason
    assert greedy.tokens == 5010, "what it used is in the record"


def test_the_whole_experiment_keeps_to_its_money(new: New, home: Path) -> None:
    provider(home)
    given = {"agents": "spender", "prompts": _USED % (10, "1.0", 0), "repeats": 10}
    done = new(**given, budget={"money": 3.5}).run(workers=1)
    counted = [run for run in done.runs() if run.counted]
    assert "money" in done.stopped and len(counted) in (3, 4)
    more = new(**given, budget={"money": 100}).run(workers=2)
    assert not more.stopped and {run.state for run in more.runs()} == {"passed"}
    assert [run.finished for run in counted] == [more[run.id].finished for run in counted], "done once"


def test_the_whole_experiment_has_its_time(new: New) -> None:
    done = new(prompts="sleep 300", agents={"a": Variant()}, budget={"time": "2s"}, repeats=8).run(workers=2)
    assert "time" in done.stopped
    assert {run.state for run in done.runs()} <= {"waiting", "stopped"}
    assert not any(run.counted for run in done.runs())
