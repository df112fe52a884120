"""What turns out to be wrong when a bottle is planned is told with file and line, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb_jupyter.agent.credentials import check_token
from bb_jupyter.errors import ManifestError
from bb_jupyter.manifest import AgentManifest, BottleManifest, define_bottle, load_agent, load_bottle, located
from tests.unit.manifest.conftest import Write

_PARENT = """---
agent_provider:
  template: claude
  auth_token: NOT_SET
egress:
  routes:
    - host: one.example
    - host: API.example.org
      auth: {scheme: bearer, token_ref: NOT_SET}
---
"""


@pytest.fixture
def bottle(at_home: Write) -> BottleManifest:
    at_home("bottles/parent.md", _PARENT)
    at_home("bottles/child.md", "---\nextends: parent\nenv: {A: b}\nagent_provider: {auth_token: OTHER}\n---\n")
    return load_bottle("child")


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("egress.routes[api.example.org].auth.token_ref", "parent.md:9"),
        ("egress.routes[1].auth.token_ref", "parent.md:9"),
        ("agent_provider.template", "parent.md:3"),
        ("agent_provider.auth_token", "child.md:4"),
        ("env.A", "child.md:3"),
    ],
)
def test_the_file_that_says_it_is_named(bottle: BottleManifest, project: Path, key: str, place: str) -> None:
    with pytest.raises(ManifestError, match="neither the environment") as caught, located(bottle, None, project):
        check_token("NOT_SET", path=bottle.path, key=key)
    assert f"{place}: {key}: there is" in str(caught.value)
    assert caught.value.hint


def test_a_bottle_of_a_cell_and_an_agent(at_home: Write, project: Path) -> None:
    at_home("agents/reader.md", "---\nprovider: shell\nskills: [gone]\n---\nRead.\n")
    agent, bottle = load_agent("reader"), define_bottle("here", "env:\n  A: b\n", "<cell 3>")
    with pytest.raises(ManifestError, match=r"reader.md:3: skills\[0\]: wrong"), located(bottle, agent, project):
        raise ManifestError("wrong", path=agent.path, key="skills[0]")
    with pytest.raises(ManifestError, match=r"<cell 3>:2: env.A: wrong"), located(bottle, agent, project):
        raise ManifestError("wrong", path=bottle.path, key="env.A")


@pytest.mark.parametrize(
    "key", ["", "nowhere.at[x].all", "egress.routes[7].host", "egress.routes[no.example]", "a.[", "]"]
)
def test_what_no_manifest_says_is_left_as_it_is(bottle: BottleManifest, project: Path, key: str) -> None:
    error = ManifestError("wrong", path="elsewhere", key=key)
    with pytest.raises(ManifestError) as caught, located(bottle, AgentManifest(name="a", path="x.py"), project):
        raise error
    assert (str(caught.value), caught.value.line) == (str(error), None)
