"""Contract tests for authors of agent providers and of backends: one function a promise, each raises AssertionError.

    import pytest
    from bb_jupyter.agent import get_provider
    from bb_jupyter.testing import PROVIDER_CHECKS

    @pytest.mark.parametrize("check", PROVIDER_CHECKS, ids=lambda check: check.__name__)
    def test_my_provider(check):
        check(get_provider("mine"))

or, without pytest, `check_provider(get_provider("mine"))`.  For a backend, `BACKEND_CHECKS` take a fresh bottle of it:

    @pytest.mark.parametrize("check", BACKEND_CHECKS, ids=lambda check: check.__name__)
    def test_my_backend(check):
        with bb_jupyter.launch("contract", backend="mine") as bottle:
            check(bottle)

or, without pytest, `check_backend("mine")`.
"""

# ruff: noqa: S101

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from unittest.mock import patch

from bb_jupyter.agent.events import AgentEvent
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.provision_plan import AgentCommand, AgentProvisionPlan, AgentRequest
from bb_jupyter.backend import GUEST_HOME, GUEST_UID, KILLED, TIMED_OUT, registry
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleGone, UsageError

__all__ = ["BACKEND_CHECKS", "PROMPTS", "PROVIDER_CHECKS", "check_backend", "check_provider", "hostile_lines"]

#: Longest argument of a command: MAX_ARG_STRLEN of Linux.
_MAX_ARGUMENT = 128 << 10
_SECRET = "contract-secret-0123456789"  # noqa: S105
_VARIABLE = "BB_CONTRACT_TOKEN"
#: Prompts that have broken agents' command lines.
PROMPTS = (
    "Fix the failing test.",
    """quotes ' " ` $HOME $(id) \\ ;""",
    "line one\nline two\n\n  line four\t",
    "--help",
    "-",
    "é 漢字 🧪 \u202e",
    "0123456789" * 20_000,
)


def has_a_name(provider: AgentProvider) -> None:
    """It can be named: by manifests, and in a title."""
    assert provider.name, "a provider's name is that of its folder; get it by get_provider()"
    assert isinstance(provider.title, str), "title is text"


def takes_any_prompt(provider: AgentProvider) -> None:
    """Every prompt becomes a command that the kernel accepts and that carries the whole prompt."""
    for prompt in PROMPTS:
        command = provider.command(prompt)
        assert isinstance(command, AgentCommand) and command.argv, f"no command for {prompt[:40]!r}"
        for word in command.argv:
            assert isinstance(word, str) and "\0" not in word, f"not an argument: {word[:40]!r}"
            assert len(word.encode()) < _MAX_ARGUMENT, f"an argument of {len(word)} characters: use stdin"
        assert _carries(command, prompt), f"the prompt is not in the command: {prompt[:40]!r}"


def keeps_options_apart(provider: AgentProvider) -> None:
    """A prompt that looks like an option does not become one."""
    plain, option = provider.command("xx help"), provider.command("--help")
    assert len(plain.argv) == len(option.argv), "a prompt changes how many arguments there are"
    assert "--help" not in option.argv or "--" in option.argv[: option.argv.index("--help")], "use stdin, or '--'"


def can_resume(provider: AgentProvider) -> None:
    """The name of a session makes another command than none."""
    session = "0189-contract-session"
    command = provider.command("Go on.", resume=session)
    said = (*command.argv, *command.env.values(), command.stdin.decode("utf-8", "replace"))
    assert any(session in word for word in said), "resume is ignored"


def parses_everything(provider: AgentProvider) -> None:
    """No line makes `parse` raise, and all that it returns are events that can be written as UTF-8."""
    for line in hostile_lines():
        events = _parsed(provider, line)
        for event in events:
            assert isinstance(event, AgentEvent), f"not an AgentEvent: {event!r} of {line[:80]!r}"
            json.dumps(event.as_dict(), ensure_ascii=False, default=str).encode()


def shows_what_it_does_not_know(provider: AgentProvider) -> None:
    """An event of a newer agent is shown, not swallowed."""
    events = _parsed(provider, '{"type": "brand.new", "detail": "something unheard of"}')
    assert "something unheard of" in repr(events), "an unknown event is lost: return unknown(data)"


def plans_without_secrets(provider: AgentProvider) -> None:
    """The plan holds no credential: it is shown, and its files lie in the bottle."""
    plan = _plan(provider)
    content = b"".join(file.content for file in plan.files)
    assert _SECRET not in repr(plan) and _SECRET.encode() not in content, "the credential is in the plan"
    assert plan.provider == provider.name, "the plan names another provider"


def plans_the_same_twice(provider: AgentProvider) -> None:
    """Planning decides and starts nothing: the same request gives the same plan."""
    assert _plan(provider) == _plan(provider), "two plans for one request differ"


def keeps_to_the_home(provider: AgentProvider) -> None:
    """What it names in the bottle lies in the agent's home."""
    for path in (provider.prompt_file, provider.skills_folder, *provider.own_paths):
        parts = PurePosixPath(path).parts
        assert parts and parts[0] != "/" and ".." not in parts, f"not below the home: {path!r}"


def builds_on_the_chosen_image(provider: AgentProvider) -> None:
    """Its Dockerfile starts from the image that the user chose."""
    if provider.dockerfile is not None:
        text = provider.dockerfile.read_text()
        assert "ARG BASE_IMAGE" in text, f"{provider.dockerfile} has no ARG BASE_IMAGE"
        assert "FROM ${BASE_IMAGE}" in text or "FROM $BASE_IMAGE" in text, "it does not start from BASE_IMAGE"


PROVIDER_CHECKS: tuple[Callable[[AgentProvider], None], ...] = (
    has_a_name,
    takes_any_prompt,
    keeps_options_apart,
    can_resume,
    parses_everything,
    shows_what_it_does_not_know,
    plans_without_secrets,
    plans_the_same_twice,
    keeps_to_the_home,
    builds_on_the_chosen_image,
)


def check_provider(provider: AgentProvider) -> None:
    """Try every promise.

    Raises:
        AssertionError: one is broken; its text says which.
    """
    for check in PROVIDER_CHECKS:
        try:
            check(provider)
        except AssertionError as error:
            raise AssertionError(f"{provider.name}: {check.__name__}: {error}") from error


def output_arrives_while_the_command_runs(bottle: BottleHandle) -> None:
    """Output can be read before the command ends."""
    # The second line is written only after the first one was read: no clock decides.
    execution = bottle.exec(["sh", "-c", "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second"])
    seen = b""
    while execution.running and b"first\n" not in seen:
        seen += b"".join(chunk.data for chunk in execution.poll())
    assert execution.running, "the output came with the end of the command"
    _out(bottle, "touch go")
    assert execution.wait().stdout == b"first\nsecond\n", "output is lost or twice there"


def stdout_and_stderr_are_apart(bottle: BottleHandle) -> None:
    """Each stream has its own bytes."""
    done = bottle.exec(["sh", "-c", "echo one; echo two >&2"]).wait()
    assert (done.stdout, done.stderr) == (b"one\n", b"two\n"), done


def the_exit_status_is_returned(bottle: BottleHandle) -> None:
    """A command that fails is returned, not raised; one that a signal ends has 128 and the signal's number."""
    for status in (0, 1, 3, 125, 255):
        assert bottle.exec(["sh", "-c", f"exit {status}"]).wait().returncode == status, f"exit {status}"
    assert bottle.exec(["sh", "-c", "kill -TERM $$"]).wait().returncode == 128 + signal.SIGTERM, "kill -TERM"


def what_cannot_be_started_is_a_status(bottle: BottleHandle) -> None:
    """A program that is not there ends with 127 and says so, a file that cannot be run with 126."""
    done = bottle.exec(["no-such-program"]).wait()
    assert done.returncode == 127 and b"no-such-program" in done.stderr, done
    _out(bottle, "echo text > plain")
    assert bottle.exec(["./plain"]).wait().returncode == 126, "a file without the right to be run"


def arguments_are_literal(bottle: BottleHandle) -> None:
    """No shell reads the arguments."""
    words = ["a b", "$HOME", "'", '"', "*", "\n", "-n", "", "ü", "\\"]
    done = bottle.exec(["printf", "%s\\0", *words]).wait()
    assert done.stdout.decode().split("\0")[:-1] == words, done.stdout


def all_bytes_reach_the_standard_input(bottle: BottleHandle) -> None:
    """Input is bytes or a file, comes whole, and ends; without one a command reads nothing."""
    data = bytes(range(256)) * 8192
    assert bottle.exec(["cat"], stdin=data).wait().stdout == data, "bytes"
    assert bottle.exec(["wc", "-c"], stdin=io.BytesIO(b"x" * 3_000_000)).wait().stdout.split() == [b"3000000"], "a file"
    assert bottle.exec(["cat"]).wait().stdout == b"", "no input"


def input_may_stay_unread(bottle: BottleHandle) -> None:
    """A command that does not read its input ends as usual."""
    assert bottle.exec(["true"], stdin=io.BytesIO(b"x" * 5_000_000)).wait().returncode == 0


def the_folder_is_the_home_or_what_is_asked_for(bottle: BottleHandle) -> None:
    """Commands run in the home; a relative folder is below it; one that is not there is said."""
    assert _out(bottle, "pwd; mkdir -p work") == f"{GUEST_HOME}\n"
    assert _out(bottle, "pwd", cwd="work") == f"{GUEST_HOME}/work\n"
    assert _out(bottle, "pwd", cwd="/tmp") == "/tmp\n"  # noqa: S108
    done = bottle.exec(["true"], cwd="nowhere").wait()
    assert done.returncode in (126, 127) and b"nowhere" in done.stderr + done.stdout, done


def the_user_is_not_root(bottle: BottleHandle) -> None:
    """Commands run as the agent, who has no capabilities; an unknown user is an error."""
    assert _out(bottle, "id -u") == f"{GUEST_UID}\n"
    capabilities = _out(bottle, "sed -n 's/^Cap\\(Eff\\|Bnd\\):[[:space:]]*//p' /proc/self/status").split()
    assert {*capabilities} == {"0" * 16}, capabilities
    try:
        bottle.exec(["true"], user="nobody-of-that-name").wait()
    except UsageError as error:
        assert "nobody-of-that-name" in str(error), error
    else:
        raise AssertionError("a user that does not exist runs commands")


def the_time_limit_ends_the_whole_group(bottle: BottleHandle) -> None:
    """A command and all it started end with its time limit; the output before it is kept."""
    done = bottle.exec(["sh", "-c", "echo before; sleep 100 & sleep 100"], timeout=3).wait()
    assert (done.returncode, done.timed_out, done.stdout) == (TIMED_OUT, True, b"before\n"), done
    assert "sleep 100" not in _processes(bottle), "something runs on"


def kill_ends_the_whole_group_and_keeps_the_output(bottle: BottleHandle) -> None:
    """What a command started dies with it, whatever signals it ignores; the bottle stays usable."""
    execution = bottle.exec(["sh", "-c", "(trap '' TERM INT HUP; echo up; sleep 100) & (sleep 100 | sleep 100); wait"])
    seen = b""
    while execution.running and not seen:
        seen += b"".join(chunk.data for chunk in execution.poll())
    execution.kill()
    done = execution.wait()
    assert (seen, done.returncode, done.killed) == (b"up\n", KILLED, True), done
    assert "sleep 100" not in _processes(bottle), "something runs on"
    assert _out(bottle, "echo usable") == "usable\n"


def a_background_service_does_not_hold_the_command(bottle: BottleHandle) -> None:
    """A command has ended when it has, whoever holds its output open."""
    done = bottle.exec(["sh", "-c", "sleep 30 & echo started"], timeout=25).wait()
    assert (done.returncode, done.stdout) == (0, b"started\n"), done
    assert "sleep 30" in _processes(bottle), "the service was killed"


def there_is_no_network(bottle: BottleHandle) -> None:
    """A bottle without routes has its loopback alone."""
    lines = _out(bottle, "cat /proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"], lines


def files_come_and_go_unchanged(bottle: BottleHandle) -> None:
    """A folder copied in and out again is the same, and the agent may change it."""
    with TemporaryDirectory() as folder:
        source = Path(folder, "source")
        (source / "inner").mkdir(parents=True)
        (source / "inner/data").write_bytes(bytes(range(256)) * 1000)
        (source / "run").write_text("#!/bin/sh\necho ran\n")
        (source / "run").chmod(0o755)
        bottle.cp_in(source, "copied")
        assert _out(bottle, "copied/run; echo more > copied/inner/more") == "ran\n"
        bottle.cp_out("copied", Path(folder, "back"))
        assert Path(folder, "back/inner/data").read_bytes() == (source / "inner/data").read_bytes(), "changed bytes"
        assert Path(folder, "back/inner/more").read_text() == "more\n", "a file that the bottle wrote is missing"


def a_live_bottle_is_listed_and_never_an_orphan(bottle: BottleHandle) -> None:
    """`enumerate_active` lists a bottle until it is stopped; `prepare_cleanup` never names it."""
    backend = registry.get(bottle.plan.spec.backend)
    assert bottle.plan.slug in {agent.slug for agent in backend.enumerate_active()}, "a live bottle is not listed"
    orphans = {orphan.slug for orphan in backend.prepare_cleanup().orphans}
    assert bottle.plan.slug not in orphans, "a live bottle would be cleaned up"
    bottle.stop()
    assert bottle.plan.slug not in {agent.slug for agent in backend.enumerate_active()}, "a stopped bottle is listed"


def a_stopped_bottle_says_that_it_is_gone(bottle: BottleHandle) -> None:
    """A bottle that fails is raised."""
    bottle.stop()
    try:
        bottle.exec(["true"]).wait()
    except BottleGone:
        return
    raise AssertionError("a stopped bottle runs commands")


BACKEND_CHECKS: tuple[Callable[[BottleHandle], None], ...] = (
    output_arrives_while_the_command_runs,
    stdout_and_stderr_are_apart,
    the_exit_status_is_returned,
    what_cannot_be_started_is_a_status,
    arguments_are_literal,
    all_bytes_reach_the_standard_input,
    input_may_stay_unread,
    the_folder_is_the_home_or_what_is_asked_for,
    the_user_is_not_root,
    the_time_limit_ends_the_whole_group,
    kill_ends_the_whole_group_and_keeps_the_output,
    a_background_service_does_not_hold_the_command,
    there_is_no_network,
    files_come_and_go_unchanged,
    a_live_bottle_is_listed_and_never_an_orphan,
    a_stopped_bottle_says_that_it_is_gone,
)


def check_backend(name: str) -> None:
    """Try every promise, each in a bottle of its own.

    Args:
        name: the backend's, as `--backend` takes it.

    Raises:
        AssertionError: one is broken; its text says which.
        BottleError: no bottle can be launched.
    """
    session = Session()
    try:
        for check in BACKEND_CHECKS:
            bottle = session.launch("contract", LaunchOptions(backend=name))
            try:
                check(bottle)
            except AssertionError as error:
                raise AssertionError(f"{name}: {check.__name__}: {error}") from error
            finally:
                session.stop_all()
    finally:
        session.stop_all()


def _out(bottle: BottleHandle, script: str, cwd: str | None = None) -> str:
    done = bottle.exec(["sh", "-c", script], cwd=cwd).wait()
    assert done.returncode == 0, f"{script!r} failed: {done}"
    return done.stdout.decode()


def _processes(bottle: BottleHandle) -> str:
    """Return the command lines of the bottle's living processes."""
    return _out(bottle, "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null; :")


def hostile_lines(samples: Iterable[str] = ()) -> Iterator[str]:
    """Return lines that an agent, or what it runs, may print: nonsense, wrong types, things too deep and too large.

    Args:
        samples: lines that the agent does print; each is returned with every value replaced by one of another type.
    """
    yield from ("", " ", "plain text", "{", "{}", "[]", "null", "1e999", '{"type": 5}', '{"type": null}', "\x1b[2J\x07")
    yield from ('{"type": "text", "text": "\\ud800"}', '{"type": "\\ud800"}', '{"a": ' * 5000, "[" * 100_000)
    yield '{"type": "usage", "input_tokens": ' + "9" * 5000 + "}"
    kinds = (
        "text",
        "assistant",
        "user",
        "result",
        "system",
        "stream_event",
        "item.completed",
        "turn.completed",
        "error",
    )
    for kind in kinds:
        for value in _VALUES:
            for key in ("message", "item", "event", "usage", "text", "content", "error", "input", "output"):
                yield json.dumps({"type": kind, key: value})
    for sample in samples:
        yield from (json.dumps(changed) for changed in _mutations(json.loads(sample)))


_VALUES: tuple[object, ...] = (None, True, -1, 1e308, "", "x", [], [None], ["x"], [[]], [{}], {}, {"type": "text"})


def _mutations(value: object) -> Iterator[object]:
    yield from _VALUES
    if isinstance(value, dict):
        for key in value:
            yield {other: value[other] for other in value if other != key}
            yield from ({**value, key: changed} for changed in _mutations(value[key]))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], changed, *value[index + 1 :]] for changed in _mutations(item))


def _parsed(provider: AgentProvider, line: str) -> list[AgentEvent]:
    try:
        return list(provider.parse(line))
    except Exception as error:
        raise AssertionError(f"parse raised {error!r} on {line[:80]!r}") from error


def _carries(command: AgentCommand, prompt: str) -> bool:
    return prompt.encode() in command.stdin or prompt in command.argv


def _plan(provider: AgentProvider) -> AgentProvisionPlan:
    from bb_jupyter.manifest import AgentManifest, AgentProviderRef

    agent = AgentManifest(name="contract", provider=provider.name, model="contract-model")
    ref = AgentProviderRef(template=provider.name, auth_token=_VARIABLE)
    with patch.dict(os.environ, {_VARIABLE: _SECRET}):
        return provider.provision_plan(AgentRequest(agent=agent, ref=ref))
