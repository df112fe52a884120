"""git: refused where the gateway looks, with the way to the git gate; plain downloads work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.attack.conftest import Walled
from tests.integration.clients.conftest import needs

_WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "T"), ("EMAIL", "t@example.org"))
}


@pytest.fixture
def repository(walled: Walled, tmp_path: Path) -> str:
    """A bare repository below `/files/`, in the form that any web server can serve."""
    needs(walled, "git")
    env = {**os.environ, **_WHO, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    bare = walled.service.folder / "repo.git"
    if not bare.exists():
        (tmp_path / "file").write_text("content\n")
        for command in (
            f"git init -q -b main {tmp_path}",
            f"git -C {tmp_path} add file",
            f"git -C {tmp_path} commit -q -m first",
            f"git clone -q --bare {tmp_path} {bare}",
            f"git -C {bare} update-server-info",
        ):
            subprocess.run(command.split(), check=True, env=env)
    return "files/repo.git"


@pytest.mark.parametrize("command", ["clone", "push", "ls-remote", "fetch"])
@pytest.mark.parametrize("host", ["read.test", "post.test", "secret.test"])
def test_git_is_refused_with_the_way_to_the_gate(walled: Walled, repository: str, command: str, host: str) -> None:
    url = f"https://{host}/{repository}"
    start = "rm -rf work && git init -q work && cd work && git commit -q --allow-empty -m x && "
    scripts = {
        "clone": f"rm -rf work && git clone {url} work",
        "push": f"{start}git push {url} HEAD:main",
        "ls-remote": f"git ls-remote {url}",
        "fetch": f"{start}git fetch {url}",
    }
    before = len(walled.service.requests)
    done = walled.handle.exec(["sh", "-c", scripts[command]], env=_WHO, timeout=60).wait()
    assert done.returncode != 0
    assert b"403" in done.stderr
    assert b"git does not go through the egress proxy" in done.stderr, done.stderr
    assert b"git-gate" in done.stderr
    assert done.duration < 20
    assert len(walled.service.requests) == before


def test_git_that_is_only_relayed_works(walled: Walled, repository: str) -> None:
    script = f"rm -rf work && git clone -q https://ok.test/{repository} work && cat work/file"
    done = walled.handle.exec(["sh", "-c", script], env={"GIT_SSL_CAINFO": "service-ca.pem"}, timeout=60).wait()
    assert done.stdout == b"content\n", done


def test_plain_downloads_from_a_git_server_work(walled: Walled, repository: str) -> None:
    done = walled.curl(f"https://read.test/{repository}/HEAD")
    assert done.stdout == b"ref: refs/heads/main\n\n200", done
