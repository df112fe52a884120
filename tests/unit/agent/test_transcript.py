"""Runs of a scripted command: what is kept of them, and how a cell shows them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bb_jupyter.agent import AgentCommand, AgentProvider
from bb_jupyter.agent import transcript as kept
from bb_jupyter.agent.events import AgentEvent, Failure, Final, Started, Text, Thinking, ToolCall, ToolResult, Usage
from bb_jupyter.backend.execution import Chunk, Execution
from bb_jupyter.core.agent_run import AgentResult, AgentRun
from bb_jupyter.errors import BottleGone, CommandFailed
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.script_run import check
from bb_jupyter.notebook.views import transcript


class Local(Execution):
    """A command of this host in place of one in a bottle."""

    def __init__(self, *argv: str, stdin: bytes = b"", gone: bool = False) -> None:
        super().__init__()
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(argv, stdin=file, stdout=pipe, stderr=pipe, start_new_session=True)
        self._gone = gone

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        assert self._process.stdout and self._process.stderr
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        if data:
            return (Chunk("stdout", data),)
        if self._gone:
            raise BottleGone("bottle 'x' ended")
        error = self._process.stderr.read()
        return (Chunk("stderr", error),) if error else self._process.wait()

    def _send_kill(self) -> None:
        self._process.kill()

    def _close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Plain(AgentProvider):
    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        return AgentCommand(("cat",), prompt.encode())


class Raising(Plain):
    def parse(self, line: str) -> Iterator[AgentEvent]:
        yield Text("before")
        raise KeyError(line)


def run_of(*events: AgentEvent | str, then: str = "", provider: AgentProvider | None = None) -> AgentRun:
    lines = [event if isinstance(event, str) else json.dumps(event.as_dict()) for event in events]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    return AgentRun(Local("sh", "-c", f"cat; {then}", stdin=stdin), provider or Plain())


def test_pieces_are_handed_on_and_kept_as_a_whole() -> None:
    run = run_of(Text("a", partial=True), Text("b", partial=True), Text("ab"), Thinking("t", partial=True))
    assert [event for event in run if isinstance(event, Text)] == [Text("a", True), Text("b", True), Text("ab")]
    assert run.result.events == (Text("ab"), Thinking("t"), Final("ab"))


def test_every_run_ends_in_one_answer_or_one_failure() -> None:
    assert run_of(Text("hello")).wait().events[-1] == Final("hello")
    assert run_of(Final("x")).wait().events == (Final("x"),)
    failed = run_of(Text("hello"), then="echo went wrong >&2; exit 3").wait()
    assert (failed.returncode, failed.failure, failed.events[-1]) == (3, "went wrong", Failure("went wrong"))
    told = run_of(Failure("no credit")).wait()
    assert (told.returncode, told.failure, len(told.events)) == (1, "no credit", 1)
    retried = run_of(Failure("busy", retrying=True), Final("x")).wait()
    assert retried.ok and retried.failure == ""


def test_the_last_usage_and_a_sane_session_count() -> None:
    result = run_of(Started("abc"), Started("--evil"), Usage(1, 1), Usage(5, 6, 0, 2, 0.5)).wait()
    assert (result.session, result.usage.input_tokens, result.cost) == ("abc", 5, 0.5)


def test_a_providers_failure_to_parse_is_shown() -> None:
    events = run_of("line", provider=Raising()).wait().events
    assert [event.kind for event in events] == ["other", "final"] and "line" in str(events[0])


def test_bytes_that_are_no_text_and_a_line_without_end() -> None:
    run = AgentRun(Local("sh", "-c", r"printf 'caf\351\nno end'"), Plain())
    assert [event.text for event in run.wait().events if isinstance(event, Text)] == ["caf\ufffd", "no end"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_TEXT", 10_000)
    monkeypatch.setattr(kept, "KEPT_EVENTS", 20)
    monkeypatch.setattr(kept, "MAX_LINE", 5_000)
    result = AgentRun(Local("sh", "-c", "seq 1 1000; head -c 100000 /dev/zero | tr '\\0' x"), Plain()).wait()
    assert len(result.events) <= 20 and result.dropped > 900
    assert sum(len(str(event)) for event in result.events) < 20_000


def test_a_bottle_that_dies_leaves_the_transcript() -> None:
    run = AgentRun(Local("echo", "some words", gone=True), Plain())
    with pytest.raises(BottleGone):
        run.wait()
    assert run.result.events == (Text("some words"), Failure("bottle 'x' ended"))
    assert not run.result.ok


HOSTILE = "<script>alert(1)</script> \x1b[2J \u202e"
EVENTS = (
    Started("s"),
    Thinking(HOSTILE),
    Text("I will.", partial=True),
    Text("I will."),
    ToolCall("1", f"Bash{HOSTILE}", {"command": f"ls {HOSTILE}"}),
    ToolResult("1", f"out {HOSTILE}\n" * 500, error=True),
    ToolResult("unknown", "late"),
    Text("within", parent="1"),
    Failure(f"busy {HOSTILE}", retrying=True),
    '{"type": "brand.new", "x": "<b>"}',
    Usage(1200, 30, 100, 3, 0.0123),
    Final(f"**done** {HOSTILE}"),
)


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every display and every update of one, as (text, HTML)."""
    shown: list[tuple[str, str]] = []

    def publish(text: str, markup: str, handle: object = None) -> object:
        shown.append((text, markup))
        return handle or object()

    monkeypatch.setattr(transcript, "publish", publish)
    monkeypatch.setattr(kernel, "is_rich", lambda: True)
    return shown


def test_a_cell_shows_a_run_folded_with_its_answer_below(displays: list[tuple[str, str]]) -> None:
    result = transcript.show("demo", run_of(*EVENTS))
    assert isinstance(result, AgentResult) and result.ok
    (text, markup), (answer, rendered) = displays[-2:]
    assert markup.startswith("<div><details><summary><b>demo</b> done in ")
    assert "3 turns · 1,200 tokens in (100 cached), 30 out · $0.0123" in text and "I will." in text
    assert "<strong>done</strong>" in rendered and answer.startswith("**done**")
    assert markup.count("I will.") == 1 and "margin-left" in markup
    for text, markup in displays:
        assert "<script" not in markup and "\x1b" not in markup + text and "\u202e" not in markup + text
        assert len(markup) < 40_000


def test_a_long_run_stays_light(displays: list[tuple[str, str]]) -> None:
    many = [ToolCall(str(n), "run", {"command": "x" * 100}) for n in range(3000)]
    transcript.show("demo", run_of(*many, Final("end")))
    assert all(len(markup) < transcript.SAVED * 1.1 for _, markup in displays)
    assert "earlier steps are in the log" in displays[-2][1] and len(displays[-2][0]) < transcript.SAVED


def test_plain_output(capsys: pytest.CaptureFixture[str]) -> None:
    transcript.show("demo", run_of(*EVENTS))
    printed = capsys.readouterr().out
    assert "I will.\n" in printed and "▸ Bash" in printed and "… 490 more" in printed and "**done**" in printed
    assert "\x1b" not in printed and "\u202e" not in printed and printed.count("I will.") == 1
    assert printed.splitlines()[-1].startswith("demo: done in ")


def test_a_failed_run_raises_in_its_cell() -> None:
    result = run_of(Failure("no credit\x1b")).wait()
    with pytest.raises(CommandFailed, match="demo: no credit␛"):
        check("demo", result)
    check("demo", run_of(Final("x")).wait())


def test_the_summary_names_changed_files(tmp_path: Path) -> None:
    names = tuple(f"f{n}" for n in range(12))
    result = AgentResult("", (), Usage(), 0, 75.4, changed=names)
    assert transcript.summary(result) == ("done in 1m15s · changed f0, f1, f2, f3, f4, f5, f6, f7, f8, f9 and 2 more")
