"""Promises of `branch`: bottles that start with another one's files, and are their own in everything else."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bb_jupyter.backend import registry, state
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleError, BottleGone, NameTaken, UsageError
from bb_jupyter.manifest import Limits
from tests.contract.conftest import Launch, out, sh

_CHILD = """
import sys
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
name, backend = sys.argv[1:]
held = current().launch(name, LaunchOptions(backend=backend))
held.branch(2)[0].branch()
print("up", flush=True)
sys.stdin.read()
"""


def test_branches_have_the_files_and_go_their_own_way(bottle: BottleHandle, session: Session) -> None:
    out(bottle, "mkdir -p work/deep; echo 42 > work/deep/answer; ln -s deep/answer work/link; chmod 755 work/link")
    branches = bottle.branch(3)
    assert [branch.name for branch in branches] == [f"{bottle.name}-{number}" for number in (1, 2, 3)]
    for branch in branches:
        assert out(branch, "cat work/link; stat -c %A work/deep/answer") == "42\n-rwxr-xr-x\n"
        out(branch, f"echo {branch.name} > work/deep/answer")
    assert [out(branch, "cat work/link").strip() for branch in branches] == [branch.name for branch in branches]
    assert out(bottle, "cat work/link") == "42\n"
    assert {handle.name for handle in session.handles()} == {bottle.name, *(branch.name for branch in branches)}


def test_a_branch_is_a_bottle_of_its_own(bottle: BottleHandle, session: Session) -> None:
    (branch,) = bottle.branch(names=[f"{bottle.name}-other"])
    assert branch.name == f"{bottle.name}-other"
    assert branch.plan.slug != bottle.plan.slug
    assert {record.name for record in state.records()} == {bottle.name, branch.name}
    assert {agent.name for agent in session.active()} >= {bottle.name, branch.name}
    assert f"files of '{bottle.name}'" in branch.plan.text()
    bottle.stop()
    assert out(branch, "echo lives") == "lives\n"
    branch.stop()
    assert not state.records()


def test_what_was_launched_holds_in_a_branch(launch: Launch) -> None:
    bottle = launch(env={"COLOUR": "blue"}, cwd="/tmp", limits=Limits(timeout=4.0))
    (branch,) = bottle.branch()
    assert out(branch, "echo $COLOUR $PWD") == "blue /tmp\n"
    assert sh(branch, "sleep 60").timed_out
    assert out(branch, "id -u; tail -n +3 /proc/net/dev | cut -d: -f1").split() == ["1000", "lo"]


def test_programs_do_not_go_along(bottle: BottleHandle) -> None:
    with bottle.exec(["sleep", "4321"]):
        (branch,) = bottle.branch()
        assert "4321" not in out(branch, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_what_was_copied_in_is_not_copied_again(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("first")
    bottle = launch(copy=(f"{tmp_path}/note",))
    out(bottle, "echo changed > note")
    (branch,) = bottle.branch()
    assert out(branch, "cat note") == "changed\n"


def test_a_branch_has_a_gateway_and_a_broker_of_its_own(launch: Launch, home: Path) -> None:
    (home / "bottles").mkdir()
    (home / "bottles" / "open.md").write_text("---\nsupervise: true\negress: {routes: [{host: ok.test}]}\n---\n")
    bottle = launch(bottle="open")
    bottle.allow("more.test")
    (branch,) = bottle.branch()
    assert (branch.bottle.network.state, branch.bottle.broker.state) == ("open", "open")
    assert [route.host for route in branch.bottle.network.routes.routes] == ["ok.test"]  # type: ignore[union-attr]
    assert branch.bottle.network.ca_pem != bottle.bottle.network.ca_pem
    marker = branch.bottle.network.ca_pem.splitlines()[5]
    assert out(branch, f"grep -cF '{marker}' ~/.bottle/ca.pem") == "1\n"
    assert answers(branch, "egress:3128")
    assert answers(branch, "supervise:9100")
    bottle.stop()
    assert answers(branch, "supervise:9100")


def answers(bottle: BottleHandle, service: str) -> bool:
    """Whether something speaks HTTP in a service."""
    code = "curl -s -m 30 --noproxy '*' -X POST -d '{}' -o /dev/null -w '%{http_code}'"
    return out(bottle, f"{code} http://{service}/; :") != "000"


def test_a_branch_can_be_branched(bottle: BottleHandle) -> None:
    out(bottle, "echo one > first")
    (child,) = bottle.branch()
    out(child, "echo two > second")
    (grandchild,) = child.branch()
    bottle.stop()
    child.stop()
    assert out(grandchild, "cat first second") == "one\ntwo\n"


def test_odd_files_are_taken_over(bottle: BottleHandle) -> None:
    out(bottle, "mkdir ro; echo x > ro/file; chmod 555 ro; mkfifo pipe; ln -s /nowhere dangling; : > -n")
    out(bottle, "printf x > \"$(printf 'a\\nb')\"; echo y > one; ln one two")
    (branch,) = bottle.branch()
    assert out(branch, "cat ro/file; ls -1 | wc -l; stat -c %h one") == out(
        bottle, "cat ro/file; ls -1 | wc -l; stat -c %h one"
    )
    assert out(branch, "test -p pipe; readlink dangling; stat -c %a ro") == "/nowhere\n555\n"


def test_no_branch_stays_when_one_fails(bottle: BottleHandle, session: Session) -> None:
    with pytest.raises(NameTaken):
        bottle.branch(names=[f"{bottle.name}-a", bottle.name, f"{bottle.name}-b"])
    assert [record.name for record in state.records()] == [bottle.name]
    assert [handle.name for handle in session.handles()] == [bottle.name]


def test_names_that_are_taken_are_passed_over(bottle: BottleHandle, launch: Launch) -> None:
    launch(f"{bottle.name}-1")
    assert [branch.name for branch in bottle.branch(2)] == [f"{bottle.name}-2", f"{bottle.name}-3"]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"names": ["A B"]}])
def test_what_cannot_be_is_refused(bottle: BottleHandle, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        bottle.branch(**wrong)  # type: ignore[arg-type]


def test_a_stopped_bottle_has_no_branches(bottle: BottleHandle) -> None:
    bottle.stop()
    with pytest.raises(BottleGone):
        bottle.branch()


def test_a_failure_after_the_files_are_held_leaves_nothing(bottle: BottleHandle) -> None:
    with pytest.raises(BottleError), bottle.bottle.snapshot():
        raise BottleError("no")
    assert [record.name for record in state.records()] == [bottle.name]
    assert len(list(state.state_dir().joinpath(bottle.plan.slug).glob("*.tar"))) == 0


def test_cleanup_finds_what_a_killed_process_left(session: Session, backend: str, bottle_name: str) -> None:
    argv = [sys.executable, "-c", _CHILD, bottle_name, backend]
    other = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "up\n"
    other.send_signal(signal.SIGKILL)
    other.communicate()
    names = {bottle_name, f"{bottle_name}-1", f"{bottle_name}-2", f"{bottle_name}-1-1"}
    assert {record.name for record in state.records()} == names
    session.cleanup()
    assert not registry.get(backend).prepare_cleanup()
    assert not state.records()
