"""A provider of the user's own, one Python file and one Dockerfile, in bottles of every backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bb_jupyter.agent import get_provider
from bb_jupyter.agent.events import Final, Text
from bb_jupyter.broker.broker_plan import GitGatePlan, GitRepoPlan
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session

_PROVIDER = """
from bb_jupyter.agent import AgentCommand, AgentProvider, AgentProvisionPlan, GuestFile

class Parrot(AgentProvider):
    title = "Parrot"

    def provision_plan(self, request):
        files = (GuestFile(".parrot/greeting", b"Polly says: "),)
        commands = (("sh", "-c", "date > provisioned"),)
        return AgentProvisionPlan(self.name, files=files, env={"PARROT": "1"}, commands=commands)

    def command(self, prompt, *, resume=""):
        return AgentCommand(("sh", "-c", "cat .parrot/greeting -; test $PARROT = 1"), prompt.encode())
"""


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def bottle(
    request: pytest.FixtureRequest, home: Path, bottle_name: str, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BottleHandle]:
    if request.param == "docker":
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", request.getfixturevalue("engine").base_image)
    folder = home / "contrib" / "parrot"
    folder.mkdir(parents=True)
    (folder / "agent_provider.py").write_text(_PROVIDER)
    (folder / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo feathers > /etc/parrot\n")
    (home / "agents").mkdir()
    (home / "agents" / "polly.md").write_text("---\nprovider: parrot\n---\nAlways repeat.\n")
    session = Session()
    yield session.launch(bottle_name, LaunchOptions(agent="polly", backend=request.param))
    session.stop_all()


def test_one_file_makes_an_agent(bottle: BottleHandle, home: Path) -> None:
    result = bottle.ask("pretty bird").wait()
    assert result.ok and result.events == (Text("Polly says: pretty bird"), Final("Polly says: pretty bird"))
    assert bottle.exec(["cat", "provisioned"]).wait().stdout
    assert bottle.exec(["cat", ".bottle/prompt.md"]).wait().stdout == b"Always repeat."
    shown = bottle.plan.text()
    assert f"your own provider {home / 'contrib' / 'parrot' / 'agent_provider.py'}" in shown
    if bottle.plan.spec.backend == "docker":
        assert bottle.exec(["cat", "/etc/parrot"]).wait().stdout == b"feathers\n"
        assert "beside your own provider" in shown


def test_git_knows_the_person_and_the_gate(bottle: BottleHandle) -> None:
    gate = GitGatePlan(
        (GitRepoPlan("widgets", "ssh://git@example.org/team/widgets.git"),), "A. Person", "a@example.org"
    )
    get_provider("parrot").provision_git(bottle.plan, bottle.bottle, gate)
    told = bottle.exec(["git", "config", "--global", "--list"]).wait().stdout.decode().splitlines()
    assert {
        "user.name=A. Person",
        "user.email=a@example.org",
        "url.http://git-gate:9418/widgets.git.insteadof=ssh://git@example.org/team/widgets.git",
        "url.http://git-gate:9418/widgets.git.insteadof=git@example.org:team/widgets",
    } <= {*told}
