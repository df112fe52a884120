"""What becomes of a manifest's routes in the cloud: allowed hosts, bound credentials, or a refusal and its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import UsageError
from tests.contract.conftest import out
from tests.smolmachines.conftest import Launch
from tests.smolmachines.server import Cloud

pytestmark = [pytest.mark.smolmachines, pytest.mark.bubblewrap]

_SECRET = "sk-live-canary-0123456789"


def manifest(home: Path, name: str, text: str) -> str:
    (home / "bottles").mkdir(exist_ok=True)
    (home / "bottles" / f"{name}.md").write_text(f"---\n{text}\n---\n")
    return name


def routes(*lines: str) -> str:
    return "egress:\n  routes:\n" + "\n".join(f"    - {{{line}}}" for line in lines)


def test_routes_become_allowed_hosts(cloud: Cloud, launch: Launch, home: Path) -> None:
    bottle = launch(
        bottle=manifest(home, "open", routes("host: docs.example", "host: '*.files.example'")), allow=("a.test",)
    )
    (machine,) = cloud.machines.values()
    network = machine.body["network"]
    assert network["mode"] == "allowCidrs"
    assert (network["cidrs"], sorted(network["hosts"])) == ([], ["a.test", "docs.example", "files.example"])
    assert "subdomains" in bottle.plan.text()
    assert bottle.bottle.network.state == "none"
    assert "PROXY" not in out(bottle, "env")


def test_a_credential_is_bound_and_never_seen(
    cloud: Cloud, launch: Launch, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_KEY", _SECRET)
    text = routes("host: api.example, auth: {scheme: header, header: x-api-key, token_ref: SERVICE_KEY}")
    bottle = launch(bottle=manifest(home, "bound", text))
    ((name, stored),) = cloud.credentials.items()
    assert stored == {"envVar": "SERVICE_KEY", "hosts": ["api.example"], "value": _SECRET}
    (machine,) = cloud.machines.values()
    assert machine.body["credentials"] == [name]
    shown = bottle.plan.text() + repr(bottle.plan) + str(machine.body)
    assert _SECRET not in shown + out(bottle, "env; cat /proc/*/environ 2>/dev/null; :")
    assert out(bottle, "echo $SERVICE_KEY") == "SMOL_PLACEHOLDER\n"


def test_an_unset_credential_is_said_before_anything_starts(cloud: Cloud, session: Session, home: Path) -> None:
    text = routes("host: api.example, auth: {scheme: bearer, token_ref: NO_SUCH_VARIABLE}")
    options = LaunchOptions(backend="smolmachines", bottle=manifest(home, "unset", text))
    with pytest.raises(Exception, match="NO_SUCH_VARIABLE"):
        session.launch("unset", options)
    assert not cloud.requests


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ("host: a.test, paths: [/v1/*]", "paths"),
        ("host: a.test, methods: [GET]", "methods"),
        ("host: a.test, resolve: 10.0.0.1", "resolve"),
        ("host: '*.a.test', auth: {scheme: bearer, token_ref: SERVICE_KEY}", "exact host"),
        ("host: a.test, auth: {scheme: basic, username: x, token_ref: SERVICE_KEY}", "basic"),
        ("host: github.com", "git server"),
    ],
)
def test_what_the_cloud_cannot_enforce_is_refused(
    cloud: Cloud, session: Session, home: Path, route: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_KEY", _SECRET)
    options = LaunchOptions(backend="smolmachines", bottle=manifest(home, "strict", routes(route)))
    with pytest.raises(UsageError, match=reason) as caught:
        session.plan("strict", options)
    assert "cloud cannot enforce" in caught.value.message
    assert "BOT_BOTTLE_SMOL_TARGET=local" in caught.value.hint
    assert not cloud.requests


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("supervise: true", "supervise"),
        ("git-gate:\n  repos:\n    widgets: {url: 'file:///srv/widgets.git'}", "git-gate"),
    ],
)
def test_what_runs_on_this_host_is_refused(
    cloud: Cloud, session: Session, home: Path, tmp_path: Path, text: str, reason: str
) -> None:
    text = text.replace("file:///srv/widgets.git", str(_repository(tmp_path)))
    options = LaunchOptions(backend="smolmachines", bottle=manifest(home, "gated", text))
    with pytest.raises(UsageError, match=reason):
        session.plan("gated", options)
    assert not cloud.requests


def _repository(folder: Path) -> Path:
    import subprocess

    subprocess.run(["git", "init", "-q", "--bare", str(folder / "widgets.git")], check=True)
    return folder / "widgets.git"


def test_the_network_of_a_running_machine_cannot_change(launch: Launch) -> None:
    bottle = launch()
    with pytest.raises(UsageError, match="cannot change"):
        bottle.allow("a.test")
    assert out(bottle, "echo usable") == "usable\n"


def test_no_dockerfile_is_built_there(cloud: Cloud, session: Session, home: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    name = manifest(home, "built", f"dockerfile: {tmp_path}/Dockerfile")
    with pytest.raises(UsageError, match="builds no Dockerfile") as caught:
        session.plan("built", LaunchOptions(backend="smolmachines", bottle=name))
    assert "registry" in caught.value.hint
    plan = session.plan("built", LaunchOptions(backend="smolmachines", bottle=name, image="registry.example/agent:1"))
    assert "registry.example/agent:1" in plan.text()
    assert "warning" in plan.text()


def test_an_agent_finds_its_credential_by_its_own_variable(
    cloud: Cloud, session: Session, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", _SECRET)
    (home / "agents").mkdir()
    (home / "agents" / "coder.md").write_text("---\nprovider: claude\n---\nBe brief.\n")
    plan = session.plan("work", LaunchOptions(backend="smolmachines", agent="coder", image="registry.example/claude:1"))
    assert isinstance(plan, SmolmachinesBottlePlan)
    (credential,) = plan.credentials
    assert (credential.env_var, credential.host) == ("ANTHROPIC_API_KEY", "api.anthropic.com")
    assert "ANTHROPIC_API_KEY" not in plan.env  # the cloud sets it, to its own placeholder
    assert "api.anthropic.com" in plan.allow_hosts
    assert _SECRET not in plan.text() + repr(plan)
