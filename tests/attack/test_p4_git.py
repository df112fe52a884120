"""P4 and P7: nothing reaches upstream unseen, and nothing that comes out of a bottle programs the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bb_jupyter import manifest
from bb_jupyter.approvals import pending, status
from bb_jupyter.backend.execution import Completed
from bb_jupyter.broker.effects import approve
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import AlreadyDecided
from tests.attack.conftest import service  # noqa: F401 - the fixture
from tests.attack.service import Service
from tests.contract.conftest import Launch, out, sh
from tests.integration.git_gate.upstreams import Upstream, bare, git

KEY = "AKIA" + "2E0A8F3B244C9986"
_PLANT = """
cd work
for hook in pre-push post-commit post-checkout pre-receive reference-transaction; do
  printf '#!/bin/sh\\n: >%s\\n' "$CANARY" >.git/hooks/$hook; chmod +x .git/hooks/$hook
done
printf '#!/bin/sh\\n: >%s; cat "$1"\\n' "$CANARY" >evil; chmod +x evil
git config core.fsmonitor "$PWD/evil"; git config core.sshCommand "$PWD/evil"
git config diff.evil.textconv "$PWD/evil"; git config diff.evil.command "$PWD/evil"
git config filter.evil.clean "$PWD/evil"; git config filter.evil.smudge "$PWD/evil"
git config remote.origin.receivepack "$PWD/evil"; git config remote.origin.uploadpack "$PWD/evil"
echo '* diff=evil filter=evil' >.gitattributes
mkdir -p hooks info .bot-bottle && cp evil hooks/pre-receive && cp evil hooks/proc-receive && cp .git/config config
echo '* diff=evil' >info/attributes && echo 'import os; os.system("./evil")' >sitecustomize.py
git add -A && git commit -qm planted && git push 2>&1
"""


@dataclass
class Gated:
    """A bottle with a clone of an upstream that the test owns."""

    handle: BottleHandle
    upstream: Upstream

    def push(self, script: str, *arguments: str) -> Completed:
        """Run a script in the clone, then push; both streams are in `stdout`."""
        begin, push = (
            "cd work && git fetch -q && git reset -q --hard origin/main",
            f"git push {' '.join(arguments)} 2>&1",
        )
        return self.handle.exec(["sh", "-c", f"{begin} && {script} && {push}"], timeout=120).wait()

    def refused(self, script: str, *arguments: str, why: str) -> None:
        """Push, which has to be refused at once, with the reason; nothing changes."""
        before = self.upstream.refs()
        done = self.push(script, *arguments)
        assert done.returncode == 1, done
        assert b"remote: " in done.stdout, done
        assert why.encode() in done.stdout, done
        assert done.duration < 60
        assert self.upstream.refs() == before
        assert pending() == []


@pytest.fixture
def gated(launch: Launch, bottle_name: str, tmp_path: Path) -> Iterator[Gated]:
    path = bare(tmp_path)
    repo = {"url": str(path), "protected": ["release/*"], "max_push": "6m"}
    gate = {"user": {"name": "A", "email": "a@example.org"}, "repos": {"widgets": repo}}
    manifest.define_bottle(bottle_name, json.dumps({"git-gate": gate}))
    handle = launch(bottle=bottle_name)
    out(handle, f"git clone -q file://{path} work")
    yield Gated(handle, Upstream(path, str(path)))


def test_a_push_of_a_new_branch_is_answered_and_reaches_nobody(gated: Gated) -> None:
    before = gated.upstream.refs()
    done = gated.push("echo x >new && git add new && git commit -qm new", "origin", "HEAD:topic")
    assert done.returncode == 0, done
    assert b"remote: Held for review: request " in done.stdout
    assert [c["subject"] for c in pending()[0].content["commits"]] == ["new"]  # exactly the incoming
    assert gated.upstream.refs() == before


def test_secrets_wherever_they_are_put(gated: Gated) -> None:
    gated.refused(f"echo {KEY} >conf && git add conf && git commit -qm x", why="secret in conf:1")
    passing = f"echo {KEY} >conf && git add conf && git commit -qm x && git rm -q conf && git commit -qm y"
    gated.refused(passing, why="secret in conf:1")
    gated.refused(f": >{KEY} && git add . && git commit -qm x", why="the file's name")
    gated.refused(f"git commit -q --allow-empty -m {KEY}", why="AWS Access Key")
    gated.refused("git commit -q --allow-empty -m x", "origin", f"HEAD:{KEY}", why="the name of refs/heads/")


def test_what_the_manifest_does_not_allow(gated: Gated) -> None:
    gated.refused("git reset -q --hard HEAD~1 && git commit -q --allow-empty -m x", "-f", why="rewrites history")
    gated.refused("true", "origin", ":main", why="deleting is not allowed")
    gated.refused("true", "origin", "HEAD:release/1", why="is protected")
    gated.refused("true", "--mirror", why="REFUSED")
    huge = "head -c 9000000 /dev/urandom >huge && git add huge && git commit -qm x"
    gated.refused(huge, why="pack exceeds maximum allowed size")


def test_a_held_push_that_changed_after_it_was_shown(gated: Gated) -> None:
    before = gated.upstream.refs()
    gated.push("echo x >f && git add f && git commit -qm shown", "-q")
    shown = pending()[0]
    gated.push("echo y >f && git add f && git commit -qm other", "-q")
    with pytest.raises(AlreadyDecided):
        approve(shown.id, token=shown.token)
    assert gated.upstream.refs() == before
    assert status(shown.id).state == "withdrawn"


def test_upstream_is_unreachable(gated: Gated) -> None:
    path, away = gated.upstream.path, gated.upstream.path.with_suffix(".away")
    gated.push("echo x >f && git add f && git commit -qm x", "-q")
    path.rename(away)
    done = sh(gated.handle, "cd work && git fetch")
    assert done.returncode != 0
    assert b"remote: upstream of 'widgets' cannot be used" in done.stderr
    outcome = approve(pending()[0].id).outcome
    assert outcome is not None and not outcome.ok and outcome.held
    assert len(pending()) == 1
    away.rename(path)


def test_nothing_that_is_planted_runs_on_the_host(gated: Gated, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    done = gated.handle.exec(["sh", "-c", _PLANT], env={"CANARY": str(canary)}, timeout=120).wait()
    assert b"Held for review" in done.stdout, done
    proposal = pending()[0]
    assert "hooks/pre-receive" in {file["path"] for file in proposal.content["files"]}
    outcome = approve(proposal.id).outcome
    assert outcome is not None
    assert outcome.ok, outcome
    sh(gated.handle, "cd work && git fetch")
    assert not canary.exists()
    assert git(gated.upstream.path, "log", "-1", "--format=%s") == "planted"


def test_the_host_of_a_repository_is_no_way_around_the_gate(
    launch: Launch,
    bottle_name: str,
    service: Service,  # noqa: F811
) -> None:
    repo = {"url": "https://forge.test/team/widgets.git"}
    routes = [service.route("forge.test")]
    text = json.dumps({"git-gate": {"repos": {"widgets": repo}}, "egress": {"routes": routes}})
    manifest.define_bottle(bottle_name, text)
    handle = launch(bottle=bottle_name)
    assert (
        b"remote: " in sh(handle, "git ls-remote https://forge.test/team/widgets.git").stderr
    )  # by the gate: no such host
    who = "-c user.name=a -c user.email=a@b"
    start = f"export GIT_CONFIG_GLOBAL=/dev/null; git init -q w; cd w; git {who} commit -q --allow-empty -m x"
    before = len(service.requests)
    for command in ("ls-remote", "push"):
        done = sh(handle, f"{start}; git {command} https://forge.test/team/widgets.git HEAD:main")
        assert done.returncode != 0
        assert b"git does not go through the egress proxy" in done.stderr, done
        assert b"git-gate" in done.stderr
    assert len(service.requests) == before
