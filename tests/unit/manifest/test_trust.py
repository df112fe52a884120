"""The workspace cannot program the host: what a repository may ship, and what becomes of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.manifest import check_repository, define_bottle, list_agents, list_bottles, load_agent, load_bottle

from .conftest import Write

AGENT = "---\nprovider: claude\nbottle: dev\nskills: [review]\nmodel: some-model\n---\n\nYou fix bugs.\n"


def test_an_agent_of_a_repository(project: Path, in_project: Write) -> None:
    file = in_project("agents/fixer.md", AGENT)
    agent = load_agent("fixer")
    assert (agent.origin, agent.path) == ("repository", str(file))
    assert (agent.provider, agent.bottle, agent.skills) == ("claude", "dev", ("review",))
    assert (agent.model, agent.prompt) == ("some-model", "You fix bugs.")


def test_the_home_wins(at_home: Write, in_project: Write) -> None:
    at_home("agents/fixer.md", "---\nname: fixer\ndescription: Mine.\n---\nhome")
    in_project("agents/fixer.md", AGENT)
    in_project("agents/other.md", AGENT)
    assert (load_agent("fixer").prompt, load_agent("fixer").origin) == ("home", "home")
    assert [(entry.name, entry.origin) for entry in list_agents()] == [("fixer", "home"), ("other", "repository")]


@pytest.mark.parametrize(
    "key",
    [
        "egress",
        "env",
        "git-gate",
        "git_gate",
        "image",
        "dockerfile",
        "copies",
        "supervise",
        "extends",
        "agent_provider",
        "auth_token",
        "forward_host_credentials",
        "mounts",
        "network",
        "privileged",
        "routes",
    ],
)
def test_bottle_keys_of_a_repositorys_agent_are_refused_by_name(in_project: Write, at_home: Write, key: str) -> None:
    in_project("agents/sly.md", f"---\nmodel: m\n{key}: x\n---\n")
    with pytest.raises(ManifestError, match="a repository may ship agents, never bottles") as caught:
        load_agent("sly")
    assert (caught.value.key, caught.value.line) == (key, 3)
    at_home("agents/own.md", f"---\n{key}: x\n---\n")
    with pytest.raises(ManifestError, match="belongs in a bottle"):
        load_agent("own")


def test_an_agents_own_mistakes(in_project: Write) -> None:
    for text, words in (
        ("---\nskils: []\n---", "agents/a.md:2: skils: unknown key\nDid you mean 'skills'"),
        ("---\nskills: [../../x]\n---", r"skills\[0\]: '../../x' cannot name a skill"),
        ("---\nmodel: --dangerous\n---", "begins with '-'"),
        ("---\nbottle: ../dev\n---", "cannot name a bottle"),
        ("---\nprovider: ../evil\n---", "cannot be a provider's name"),
        ("---\norigin: home\n---", "origin: unknown key"),
        ("---\nprompt: x\n---", "prompt: unknown key"),
        ("---\nlimits: {memory: x}\n---", "not a size"),
        ("You fix bugs.", "does not begin with '---'"),
    ):
        in_project("agents/a.md", text)
        with pytest.raises(ManifestError, match=words):
            load_agent("a")


@pytest.mark.parametrize("folder", ["bottles", "contrib", "secrets", "Bottles"])
def test_a_repository_that_ships_more_than_agents_is_refused_by_folder(in_project: Write, folder: str) -> None:
    in_project(f"{folder}/dev.md", "---\nimage: x\n---")
    in_project("agents/fixer.md", AGENT)
    for call in (lambda: load_agent("fixer"), lambda: load_bottle("dev"), lambda: check_repository(Path.cwd())):
        with pytest.raises(ManifestError, match="a repository may ship agents, never") as caught:
            call()
        assert f".bot-bottle/{folder}" in str(caught.value)
    [entry] = list_agents()
    assert entry.manifest is None and entry.origin == "repository" and folder in str(entry.error)


def test_a_repositorys_bottle_is_never_listed_extended_or_found(in_project: Write) -> None:
    in_project("bottles/dev.md", "---\nimage: x\n---")
    assert list_bottles() == []
    with pytest.raises(ManifestError, match="no bottle is named 'dev'"):
        define_bottle("mine", "extends: dev")


def test_a_bottle_of_the_home_is_used_whatever_the_repository_ships(in_project: Write, at_home: Write) -> None:
    in_project("bottles/dev.md", "---\nimage: theirs\n---")
    at_home("bottles/dev.md", "---\nimage: mine\n---")
    assert load_bottle("dev").image == "mine"


def test_the_users_own_folder_is_no_repository(home: Path, at_home: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_BOTTLE_HOME", str(home / ".bot-bottle"))
    at_home(".bot-bottle/bottles/dev.md", "---\n---")
    at_home(".bot-bottle/agents/fixer.md", AGENT)
    assert load_agent("fixer", project=home).origin == "home"
    assert [entry.origin for entry in list_agents(home)] == ["home"]
    check_repository(home)


def test_no_link_of_a_repository_is_followed(project: Path, tmp_path: Path, in_project: Write) -> None:
    secret = tmp_path / "secret"
    secret.write_text("---\n---\ntop secret")
    in_project("agents/real.md", AGENT)
    (project / ".bot-bottle/agents/leak.md").symlink_to(secret)
    with pytest.raises(ManifestError, match="a symbolic link in a repository is not followed"):
        load_agent("leak")
    assert {entry.name: entry.error is None for entry in list_agents()} == {"leak": False, "real": True}


@pytest.mark.parametrize("linked", [".bot-bottle", ".bot-bottle/agents"])
def test_no_linked_folder_of_a_repository_is_followed(project: Path, tmp_path: Path, linked: str) -> None:
    outside = tmp_path / "outside"
    (outside / "agents").mkdir(parents=True)
    for folder in (outside, outside / "agents"):
        (folder / "leak.md").write_text(AGENT)
    (project / linked).parent.mkdir(exist_ok=True)
    (project / linked).symlink_to(outside)
    with pytest.raises(ManifestError):
        load_agent("leak")
    assert all(entry.manifest is None for entry in list_agents())


def test_odd_files_of_a_repository_neither_block_nor_hide_the_others(project: Path, in_project: Write) -> None:
    in_project("agents/good.md", AGENT)
    folder = project / ".bot-bottle/agents"
    os.mkfifo(folder / "fifo.md")
    (folder / "dir.md").mkdir()
    (folder / "bytes.md").write_bytes(b"\xff\xfe")
    Path(os.fsdecode(bytes(folder) + b"/\xff.md")).write_text("x")
    entries = {entry.name: entry for entry in list_agents()}
    assert entries["good"].error is None
    assert "a FIFO" in str(entries["fifo"].error) and "a folder" in str(entries["dir"].error)
    assert "not UTF-8" in str(entries["bytes"].error)
    assert entries["\\udcff"].error is not None


def test_unknown_agents_and_names(in_project: Write) -> None:
    in_project("agents/fixer.md", AGENT)
    with pytest.raises(ManifestError, match=r"no agent is named 'fixr'\nDid you mean 'fixer'"):
        load_agent("fixr")
    with pytest.raises(UsageError, match="cannot name an agent"):
        load_agent("../../bottles/dev")


def test_limits_of_a_repositorys_agent_can_only_narrow(in_project: Write) -> None:
    in_project("agents/greedy.md", "---\nlimits: {memory: 1t, timeout: 5m}\n---\n")
    bottle = define_bottle("dev", "limits: {memory: 2g, timeout: 30m}")
    narrowed = load_agent("greedy").limits_within(bottle.limits)
    assert (narrowed.memory, narrowed.timeout) == (2 * 2**30, 300)


def test_limits_of_the_users_own_agent_count(at_home: Write) -> None:
    at_home("agents/heavy.md", "---\nlimits: {memory: 4g}\n---\n")
    bottle = define_bottle("dev", "limits: {memory: 2g, timeout: 30m}")
    limits = load_agent("heavy").limits_within(bottle.limits)
    assert (limits.memory, limits.timeout) == (4 * 2**30, 1800)
