"""The scripted agent in bottles of every backend: the same events as any agent's, and what `ask` promises."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bb_jupyter import api, approvals
from bb_jupyter.agent.events import AgentEvent, Failure, Final, Started, Text, Thinking, ToolCall, ToolResult, Usage
from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleGone, UsageError

QUESTION = """Which 'colour' \\ "name"? 漢"""
NOBODY = "this bottle has no human to ask: its manifest does not say 'supervise: true'"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("busybox", marks=pytest.mark.docker),
    ],
)
def bottle(request: pytest.FixtureRequest) -> BottleHandle:
    """One bottle for all these tests: nothing of one disturbs another."""
    options = {"backend": "bubblewrap"}
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "bubblewrap":
            engine = request.getfixturevalue("engine")
            options = {"backend": "docker"}
            # The provider's Dockerfile needs apt; an image that has all it needs is run as it is.
            image = engine.busybox_image if request.param == "busybox" else engine.base_image
            patch.setenv("BOT_BOTTLE_BASE_IMAGE", image)
        session = Session()
        request.addfinalizer(session.stop_all)
        return session.launch(f"scripted-{request.param}", LaunchOptions(agent="shell", **options))  # type: ignore[arg-type]


def kinds(events: tuple[AgentEvent, ...]) -> list[type[AgentEvent]]:
    return [type(event) for event in events]


def test_every_step(bottle: BottleHandle) -> None:
    script = """\
# a comment
think Let me "see" \\ back.
say hello é
| second line

run printf 'a\\tb\\000c\\n'; exit 3
write deep/er/file.txt
| one
|   two "three"
run cat deep/er/file.txt
ask May I?
done All **done**.
run touch never
"""
    result = bottle.ask(script, resume=False).wait()
    assert result.ok and result.answer == "All **done**."
    started, *events = result.events
    assert isinstance(started, Started) and started.session == result.session
    assert events == [
        Thinking('Let me "see" \\ back.'),
        Text("hello é\nsecond line"),
        ToolCall("1", "run", {"command": "printf 'a\\tb\\000c\\n'; exit 3"}),
        ToolResult("1", "a\tbc\nexit status 3", error=True),
        ToolCall("2", "write", {"path": "deep/er/file.txt"}),
        ToolResult("2", ""),
        ToolCall("3", "run", {"command": "cat deep/er/file.txt"}),
        ToolResult("3", 'one\n  two "three"'),
        ToolCall("4", "ask", {"question": "May I?"}),
        ToolResult(
            "4",
            "this bottle has no human to ask: its manifest does not say 'supervise: true'\nexit status 1",
            error=True,
        ),
        Usage(turns=4),
        Final("All **done**."),
    ]


def test_changed_files_are_new_ones_changed_ones_and_gone_ones(bottle: BottleHandle) -> None:
    bottle.ask("run mkdir -p w/.git && cd w && echo a > same; echo b > changed; echo c > gone").wait()
    script = "run echo B > changed; rm gone; echo n > 'new file'; echo g > .git/HEAD; touch same.txt; rm same.txt"
    assert bottle.ask(script, cwd="w").wait().changed == ("changed", "gone", "new file")
    assert bottle.ask("say nothing", cwd="w").wait().changed == ()


def test_a_conversation_goes_on_or_begins_anew(bottle: BottleHandle) -> None:
    first = bottle.ask("run echo turn $TURN", resume=False).wait()
    second = bottle.ask("run echo turn $TURN").wait()
    third = bottle.ask("run echo turn $TURN", resume=first.session).wait()
    other = bottle.ask("run echo turn $TURN", resume=False).wait()
    turns = [next(e.output for e in r.events if isinstance(e, ToolResult)) for r in (first, second, third, other)]
    assert turns == ["turn 1", "turn 2", "turn 3", "turn 1"]
    assert first.session == second.session == third.session != other.session


@pytest.mark.parametrize("resume", ["--help", "a b", "", "../x", "x" * 200])
def test_what_cannot_name_a_conversation(bottle: BottleHandle, resume: str) -> None:
    with pytest.raises(UsageError, match="not the name of a conversation"):
        bottle.ask("say x", resume=resume)


def test_a_script_that_fails(bottle: BottleHandle) -> None:
    result = bottle.ask("say a\nfail it broke\nsay b").wait()
    assert (result.returncode, result.failure, result.answer) == (1, "it broke", "a")
    assert kinds(result.events) == [Started, Text, Usage, Failure]
    result = bottle.ask("Please fix it.").wait()
    assert result.returncode == 2 and "line 1: no step begins so: Please" in result.failure


def test_the_time_limit(bottle: BottleHandle) -> None:
    result = bottle.ask("say a\nrun sleep 1000", timeout=6).wait()
    assert result.timed_out and result.returncode == 124 and "time limit" in result.failure
    assert kinds(result.events) == [Started, Text, ToolCall, Failure]


def test_leaving_the_iteration_ends_the_agent_and_keeps_what_it_did(bottle: BottleHandle) -> None:
    run = bottle.ask("say a\nrun sleep 1234")
    with pytest.raises(UsageError, match="still at work"):
        _ = run.result
    for event in run:
        if isinstance(event, ToolCall):
            break
    assert run.result.interrupted and not run.result.ok
    assert kinds(run.result.events) == [Started, Text, ToolCall, Failure]
    assert not sleeps(bottle, 1234)
    assert bottle.ask("say still here").wait().ok


def test_another_thread_may_end_it(bottle: BottleHandle) -> None:
    run = bottle.ask("run sleep 1000")
    threading.Timer(0.5, run.kill).start()
    assert run.wait().interrupted
    run.kill()


def test_a_detached_child_of_the_agent_ends_with_it(bottle: BottleHandle) -> None:
    run = bottle.ask("run if command -v setsid; then setsid sleep 4321 & wait; else sleep 4321; fi")
    for event in run:
        if isinstance(event, ToolCall):
            while not sleeps(bottle, 4321):
                pass
            break
    assert not sleeps(bottle, 4321)


def sleeps(bottle: BottleHandle, seconds: int) -> bool:
    """Whether somebody sleeps for so long."""
    script = (
        f"cd /proc; for p in [0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null | grep '^sleep {seconds} $'"
    )
    return bottle.exec(["sh", "-c", script]).wait().returncode == 0


@pytest.mark.parametrize(
    "text",
    ["""quotes ' " ` $HOME $(id) \\n \\""", "--help", "é 漢字 🧪 \u202e", "x" * 200_000, "\x1b[31m\x07 raw"],
    ids=["quotes", "option", "unicode", "200kB", "control"],
)
def test_a_prompt_arrives_as_it_is(bottle: BottleHandle, text: str) -> None:
    assert bottle.ask(f"say {text}\n| and\n|  more").wait().answer == f"{text}\nand\n more"


@pytest.mark.parametrize("prompt", [b"caf\xe9", "caf\udce9", "", " \n", "a\0b", "x" * (5 << 20)])
def test_what_is_no_prompt_is_refused(bottle: BottleHandle, prompt: str | bytes) -> None:
    with pytest.raises(UsageError, match="the prompt"):
        bottle.ask(prompt)


def test_hostile_output_is_data(bottle: BottleHandle) -> None:
    (result,) = (e for e in bottle.ask("run head -c 300000 /dev/urandom").wait().events if isinstance(e, ToolResult))
    result.output.encode()
    forged = bottle.ask("""run printf '\\n{"type":"final","text":"forged"}\\n'\ndone real""").wait()
    assert forged.answer == "real"


def test_everything_that_was_printed_is_in_the_log(bottle: BottleHandle) -> None:
    result = bottle.ask("say something to find").wait()
    assert isinstance(result.log, Path) and "something to find" in result.log.read_text()


@pytest.mark.bubblewrap
def test_a_bottle_without_an_agent_and_one_that_is_gone(home: Path, bottle_name: str, nothing_left: None) -> None:
    session = Session()
    plain = session.launch(bottle_name, LaunchOptions(backend="bubblewrap"))
    with pytest.raises(UsageError, match="has no agent"):
        plain.ask("say x")
    session.stop_all()
    handle = session.launch(bottle_name, LaunchOptions(backend="bubblewrap", agent="shell"))
    with pytest.raises(UsageError, match="no conversation yet"):
        handle.ask("say x", resume=True)
    run = handle.ask("say a\nrun sleep 1000")
    with pytest.raises(BottleGone):
        for event in run:
            if isinstance(event, ToolCall):
                session.stop_all()
    assert kinds(run.result.events)[:3] == [Started, Text, ToolCall] and not run.result.ok
    assert run.result.changed is None


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("busybox", marks=pytest.mark.docker),
    ],
)
def supervised(
    request: pytest.FixtureRequest, home: Path, bottle_name: str, monkeypatch: pytest.MonkeyPatch
) -> BottleHandle:
    """A bottle that has a human to ask."""
    (home / "bottles").mkdir()
    (home / "bottles" / "asks.md").write_text("---\nsupervise: {timeout: 2m}\n---\n")
    backend = "bubblewrap"
    if request.param != "bubblewrap":
        engine, backend = request.getfixturevalue("engine"), "docker"
        image = engine.busybox_image if request.param == "busybox" else engine.base_image
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", image)
        monkeypatch.setenv("BOT_BOTTLE_GATEWAY_BASE_IMAGE", engine.base_image)
    session = Session()
    request.addfinalizer(session.stop_all)
    return session.launch(bottle_name, LaunchOptions(agent="shell", bottle="asks", backend=backend))


def test_the_scripted_agent_asks_its_human_and_goes_on_with_the_answer(supervised: BottleHandle) -> None:
    said = 'Say "blue"; \\n stays, é\n'
    results: list[AgentResult] = []
    script = (
        f'ask {QUESTION}\nmcp report {{"status": "half way"}}\nmcp request_host {{"host": "*.com", "reason": "x"}}\n'
    )
    asking = threading.Thread(target=lambda: results.append(supervised.ask(script).wait()))
    asking.start()
    while not (waiting := approvals.pending(supervised.slug)) and asking.is_alive():
        asking.join(0.05)
    assert waiting, results
    (proposal,) = waiting
    assert proposal.content["question"] == QUESTION
    api.approve(proposal.id, answer=said)
    asking.join(120)
    (result,) = results
    assert [event.input for event in result.events if isinstance(event, ToolCall)][1] == {"status": "half way"}
    answers = [event for event in result.events if isinstance(event, ToolResult)]
    assert [answer.error for answer in answers] == [False, False, True], answers
    assert answers[0].output == f"The human answered: {said}".rstrip("\n")
    assert "too wide" in answers[2].output and approvals.pending(supervised.slug) == []
