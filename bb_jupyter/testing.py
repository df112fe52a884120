"""Contract tests for authors of agent providers: one function a promise, each raises AssertionError when it is broken.

    import pytest
    from bb_jupyter.agent import get_provider
    from bb_jupyter.testing import PROVIDER_CHECKS

    @pytest.mark.parametrize("check", PROVIDER_CHECKS, ids=lambda check: check.__name__)
    def test_my_provider(check):
        check(get_provider("mine"))

or, without pytest, `check_provider(get_provider("mine"))`.
"""

# ruff: noqa: S101

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from unittest.mock import patch

from bb_jupyter.agent.events import AgentEvent
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.provision_plan import AgentCommand, AgentProvisionPlan, AgentRequest

__all__ = ["PROMPTS", "PROVIDER_CHECKS", "check_provider", "hostile_lines"]

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
