"""Real upstreams: a bare repository by its path, behind a real sshd, and behind git http-backend over HTTPS."""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.gateway.proxy.ca import LeafAuthority

CLEAN = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    **{f"GIT_{who}_{what}": f"{what.lower()}@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
TOKEN_REF, TOKEN = "BB_GIT_TEST_TOKEN", "t0ken/of+upstream=7e5c"


def git(folder: Path, *arguments: str, **options: Any) -> str:
    """Run git outside of any bottle; it has to succeed."""
    done = subprocess.run(["git", *arguments], cwd=folder, env=CLEAN, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def commit(folder: Path, name: str = "file", text: str | None = None) -> str:
    """Change a file, commit it, and return the commit."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text is not None else (path.read_text() if path.exists() else "") + "line\n")
    git(folder, "add", "--", name)
    git(folder, "commit", "-qm", f"change {name}"[:70])
    return git(folder, "rev-parse", "HEAD")


@dataclass
class Upstream:
    """A repository, and how a manifest names it."""

    path: Path
    url: str
    keys: dict[str, str] = field(default_factory=dict)

    def refs(self) -> dict[str, str]:
        """Return what is in it."""
        listed = git(self.path, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ", 1) for line in listed)

    def move(self) -> str:
        """Commit to its main branch, as a colleague would."""
        work = self.path.with_name(f"colleague{time.monotonic_ns()}")
        git(self.path.parent, "clone", "-q", str(self.path), str(work))
        sha = commit(work, "theirs")
        git(work, "push", "-q", "origin", "HEAD:main")
        return sha


def bare(folder: Path, name: str = "up.git") -> Path:
    """Make a bare repository with two commits on main."""
    work = folder / f"work-{name}"
    git(folder, "init", "-q", "-b", "main", str(work))
    commit(work)
    commit(work, "README.md", "# Widgets\n")
    git(folder, "clone", "-q", "--bare", str(work), str(folder / name))
    return folder / name


class Sshd:
    """A real sshd on loopback that lets one key in."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
        if program is None:
            pytest.fail("these tests need a real sshd: apt-get install openssh-server", pytrace=False)
        for name in ("host", "identity", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized").write_text((folder / "identity.pub").read_text())
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.identity = folder / "identity"
        self.stranger = folder / "stranger"
        self.host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = [
            f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host", "PidFile none", "UsePAM no",
            f"AuthorizedKeysFile {folder}/authorized", "StrictModes no", "PasswordAuthentication no",
            "PermitRootLogin prohibit-password",
        ]  # fmt: skip
        (folder / "config").write_text("\n".join(settings) + "\n")
        self.process = subprocess.Popen(
            [program, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "Server listening" in line:
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Https:
    """git http-backend over HTTPS for those who know the token."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        authority = LeafAuthority("forge")
        self.ca_file = folder / "forge-ca.pem"
        self.ca_file.write_text(authority.cert_pem)
        root, self.users = folder, []

        class Handler(_Handler):
            served, users = root, self.users

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = authority.context("localhost").wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: Path) -> str:
        return f"https://localhost:{self.port}/{path.name}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Path
    users: list[str]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        body = self._body()
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        user, _, token = base64.b64decode(value).decode().partition(":") if kind == "Basic" else ("", "", "")
        if token != TOKEN:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.users.append(user)
        path, _, query = self.path.partition("?")
        env = {
            **CLEAN, "GIT_PROJECT_ROOT": str(self.served), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": user,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }  # fmt: skip
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200")[:3]))
        headers["Content-Length"] = str(len(content))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def trust(monkeypatch: pytest.MonkeyPatch, https: Https) -> None:
    """Have this process, and what it starts, trust the forge and know the token."""
    assert ssl.create_default_context(cafile=str(https.ca_file))
    monkeypatch.setenv("GIT_SSL_CAINFO", str(https.ca_file))
    monkeypatch.setenv(TOKEN_REF, TOKEN)
