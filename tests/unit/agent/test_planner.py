"""Which provider, which credential, which Dockerfile: decided from manifests, trusted by where they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bb_jupyter.agent import plan_agent
from bb_jupyter.agent.credentials import resolve_token
from bb_jupyter.agent.planner import load_agent
from bb_jupyter.agent.provision_plan import AgentProvisionPlan, GuestFile
from bb_jupyter.errors import BackendUnavailable, BottleError, ManifestError, UsageError
from bb_jupyter.manifest import AgentManifest, BottleManifest, parse_bottle
from tests.unit.agent.test_registry import GOOD, write

KEY = "sk-test-0123456789"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "OPENAI_API_KEY", "CODEX_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def plan(
    agent: AgentManifest | str,
    bottle: str = "",
    *,
    env: Mapping[str, str] | None = None,
    project: Path = Path("/nonexistent"),
    host_programs: bool = False,
) -> AgentProvisionPlan:
    declared = agent if isinstance(agent, AgentManifest) else AgentManifest(name="a", provider=agent)
    manifest = parse_bottle(bottle, name="b") if bottle else BottleManifest(name="")
    return plan_agent(
        declared, manifest, env=env or {}, project=project, guest_home="/home/agent", host_programs=host_programs
    )


def test_claude_with_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    planned = plan("claude")
    (route,) = planned.routes
    assert route.host == "api.anthropic.com" and route.auth is not None
    assert (route.auth.scheme, route.auth.header, route.auth.token_ref) == ("header", "x-api-key", "ANTHROPIC_API_KEY")
    assert KEY not in repr(planned) and planned.env["ANTHROPIC_API_KEY"] != KEY
    assert KEY.encode() not in b"".join(file.content for file in planned.files)


def test_claude_with_an_oauth_token_is_a_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "sk-ant-oat01-abcdefghij")
    planned = plan("claude", "agent_provider: {template: claude, auth_token: MY_TOKEN}")
    (route,) = planned.routes
    assert route.auth is not None and (route.auth.scheme, route.auth.token_ref) == ("bearer", "MY_TOKEN")
    assert "CLAUDE_CODE_OAUTH_TOKEN" in planned.env and "ANTHROPIC_API_KEY" not in planned.env


def test_codex_is_a_bearer_and_follows_a_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    planned = plan("codex", env={"OPENAI_BASE_URL": "https://models.example.org:8443/v1"})
    (route,) = planned.routes
    assert (route.host, route.port) == ("models.example.org", 8443)
    assert b"https://models.example.org:8443/v1" in planned.files[0].content


@pytest.mark.parametrize("url", ["http://models.example.org", "models.example.org", "https://", "https://x:99999"])
def test_a_base_url_that_carries_no_credential_safely_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ManifestError, match="OPENAI_BASE_URL: is not an https address"):
        plan("codex", env={"OPENAI_BASE_URL": url})


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_a_missing_credential_is_told_before_anything_starts(name: str) -> None:
    with pytest.raises(ManifestError, match="needs a credential: this kernel has no"):
        plan(name)


@pytest.mark.parametrize("value", [None, ""])
def test_a_named_credential_that_is_unset_or_empty(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("GONE", value)
    for name in ("claude", "codex"):
        with pytest.raises(ManifestError, match="GONE"):
            plan(name, f"agent_provider: {{template: {name}, auth_token: GONE}}")


def test_a_route_of_the_manifest_replaces_the_providers() -> None:
    assert plan("claude", "egress: {routes: [{host: api.anthropic.com}]}").routes == ()
    assert plan("codex", "egress: {routes: [{host: '*.openai.com'}]}").routes == ()


def test_a_credential_needs_the_provider_that_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY)
    with pytest.raises(ManifestError, match="is for 'claude', agent 'a' runs 'codex'"):
        plan("codex", "agent_provider: {template: claude, auth_token: KEY}")
    with pytest.raises(ManifestError, match="auth_token: needs template"):
        plan("codex", "agent_provider: {auth_token: KEY}")


@pytest.mark.parametrize("key", ["auth_token: KEY", "forward_host_credentials: true"])
def test_credentials_are_for_built_in_providers_only(home: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("KEY", KEY)
    for name in ("mine", "claude"):
        file = write(home, name, GOOD)
        with pytest.raises(ManifestError) as caught:
            plan(name, f"agent_provider: {{template: {name}, {key}}}")
        assert "is for built-in providers" in str(caught.value) and str(file) in str(caught.value)


def test_a_repositorys_agent_brings_no_network_and_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    theirs = AgentManifest(name="helper", provider="claude", origin="repository", path="/repo/helper.md")
    with pytest.raises(ManifestError, match="a repository's agent gets no network and no credential by itself"):
        plan(theirs)
    assert plan(theirs, "agent_provider: {template: claude}").routes
    scripted = AgentManifest(name="helper", provider="shell", origin="repository")
    assert plan(scripted).routes == ()


def test_a_provider_of_ones_own_that_replaces_a_built_in_one_is_shown(home: Path) -> None:
    file = write(home, "shell", GOOD.replace("TITLE", "my shell"))
    planned = plan("shell")
    assert planned.origin == "home" and planned.replaces_built_in
    (row,) = [text for label, text in planned.rows() if label == "agent"]
    assert str(file) in row and "INSTEAD OF THE BUILT-IN ONE" in row


def test_no_provider_at_all() -> None:
    with pytest.raises(ManifestError, match="agent 'a' has no provider"):
        plan(AgentManifest(name="a"))
    assert plan(AgentManifest(name="a"), "agent_provider: {template: shell}").provider == "shell"


def test_the_dockerfiles_cascade(home: Path, tmp_path: Path) -> None:
    default = plan("shell")
    assert default.dockerfile is not None and default.dockerfile.parent.name == "shell"
    assert ("Dockerfile", f"{default.dockerfile} (the provider's own)") in default.rows()
    own = write(home, "mine", GOOD).with_name("Dockerfile")
    assert plan("mine").dockerfile is None
    own.write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
    assert (plan("mine").dockerfile, plan("mine").dockerfile_reason) == (own, "beside your own provider")
    third = f"agent_provider: {{template: mine, dockerfile: {tmp_path / 'third'}}}"
    assert plan("mine", third).dockerfile == tmp_path / "third"
    fourth = plan("mine", f"{third}\ndockerfile: {tmp_path / 'fourth'}")
    assert (fourth.dockerfile, fourth.dockerfile_reason) == (tmp_path / "fourth", "the bottle's own")
    assert plan("mine", third, host_programs=True).dockerfile is None


def test_skills_are_of_the_home_or_the_repository(home: Path, tmp_path: Path) -> None:
    for root, name in ((home, "ours"), (tmp_path / ".bot-bottle", "theirs"), (tmp_path / ".bot-bottle", "ours")):
        (root / "skills" / name).mkdir(parents=True)
        (root / "skills" / name / "SKILL.md").write_text("---\nname: x\n---\n")
    agent = AgentManifest(name="a", provider="shell", skills=("ours", "theirs"))
    found = plan(agent, project=tmp_path).skills
    assert [(skill.name, skill.origin) for skill in found] == [("ours", "home"), ("theirs", "repository")]
    with pytest.raises(ManifestError, match="there is no skill 'none'"):
        plan(AgentManifest(name="a", provider="shell", skills=("none",)), project=tmp_path)


def test_a_repositorys_skill_that_is_a_link_is_none(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "SKILL.md").write_text("x")
    (tmp_path / ".bot-bottle" / "skills").mkdir(parents=True)
    (tmp_path / ".bot-bottle" / "skills" / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match="there is no skill 's'"):
        plan(AgentManifest(name="a", provider="shell", skills=("s",)), project=tmp_path)


def test_the_name_of_a_provider_stands_for_an_agent_of_it(home: Path, tmp_path: Path) -> None:
    assert load_agent("claude", tmp_path).provider == "claude"
    (home / "agents").mkdir()
    (home / "agents" / "claude.md").write_text("---\nprovider: shell\n---\n")
    assert load_agent("claude", tmp_path).provider == "shell"
    with pytest.raises(ManifestError, match="no agent is named 'nobody'"):
        load_agent("nobody", tmp_path)


def test_a_plugin_that_fails_while_planning_is_told_with_its_line(home: Path) -> None:
    file = write(home, "mine", GOOD + "    def provision_plan(self, request):\n        return 1 / 0\n")
    with pytest.raises(ManifestError, match="division by zero") as caught:
        plan("mine")
    assert f"{file}:9: " in str(caught.value)


def test_programs_of_the_host_are_bound_without_the_home_they_lie_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    package = tmp_path / "home" / "lib" / "node_modules" / "@openai" / "codex"
    beside = package.with_name("codex-linux-x64")
    (package / "bin").mkdir(parents=True)
    beside.mkdir()
    (package / "package.json").write_text('{"optionalDependencies": {"@openai/codex-linux-x64": "1"}}')
    script = package / "bin" / "codex.js"
    script.write_text("#!/usr/bin/env node\n")
    script.chmod(0o755)
    programs = tmp_path / "home" / "bin"
    programs.mkdir()
    (programs / "codex").symlink_to(script)
    (programs / "node").write_bytes(b"\x7fELF")
    (programs / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    binds = {(bind.source, bind.target) for bind in plan("codex", host_programs=True).host_paths if not bind.link}
    root = "/opt/agent"
    assert binds == {
        (str(package), f"{root}/node_modules/@openai/codex"),
        (str(beside), f"{root}/node_modules/@openai/codex-linux-x64"),
        (str(programs / "node"), f"{root}/bin/node"),
    }


def test_a_program_that_is_not_installed_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with pytest.raises(BackendUnavailable, match="npm install -g @anthropic-ai/claude-code"):
        plan("claude", host_programs=True)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\0b"])
def test_a_providers_file_stays_in_the_home(path: str) -> None:
    with pytest.raises(UsageError):
        GuestFile(path, b"")


def test_the_hosts_login_is_forwarded_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    forward = "agent_provider: {template: claude, forward_host_credentials: true}"
    with pytest.raises(BottleError, match="no login of Claude Code"):
        plan("claude", forward)
    (tmp_path / ".claude").mkdir()
    token = '{"claudeAiOauth": {"accessToken": "sk-ant-oat01-login"}}'
    (tmp_path / ".claude" / ".credentials.json").write_text(token)
    (route,) = plan("claude", forward).routes
    assert route.auth is not None and route.auth.scheme == "bearer"
    assert resolve_token(route.auth.token_ref) == "sk-ant-oat01-login"
    assert "sk-ant-oat01-login" not in repr(plan("claude", forward))
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "auth.json").write_text('{"tokens": {"access_token": "x"}, "OPENAI_API_KEY": null}')
    with pytest.raises(BottleError, match="a ChatGPT login belongs to its host"):
        plan("codex", forward.replace("claude", "codex"))
    assert "ANTHROPIC_API_KEY" not in os.environ
