"""pip, npm and Node: package managers against tiny registries of the test's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.attack.conftest import Walled
from tests.integration.clients.conftest import needs


def _wheel() -> bytes:
    """Return a wheel with one module (PyPA, binary distribution format)."""
    info = "bb_tiny-1.0.dist-info"
    files = {
        "bb_tiny.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: bb-tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def _npm_package() -> bytes:
    files = {"package.json": json.dumps({"name": "bb-tiny", "version": "1.0.0"}), "index.js": "module.exports = 42\n"}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture(scope="module")
def node(walled: Walled) -> dict[str, str]:
    """Return the variables by which a bottle finds Node and npm: a container is brought this host's."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if walled.backend != "docker" or not program or not npm:
        return {}
    data, run = io.BytesIO(), b'#!/bin/sh\nexec "${0%/*}/node" "${0%/*}/../lib/node_modules/npm/bin/npm-cli.js" "$@"\n'
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.add(Path(program).resolve(), "node/bin/node")
        archive.add(Path(npm).resolve().parents[1], "node/lib/node_modules/npm")
        member = tarfile.TarInfo("node/bin/npm")
        member.size, member.mode = len(run), 0o755
        archive.addfile(member, io.BytesIO(run))
    done = walled.handle.exec(
        ["sh", "-c", "tar -xf - --no-same-owner && pwd"], stdin=data.getvalue(), timeout=120
    ).wait()
    assert done.returncode == 0, done
    return {"PATH": f"{done.stdout.decode().strip()}/node/bin:/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def registries(walled: Walled) -> None:
    wheel, package = _wheel(), _npm_package()
    name, digest = "bb_tiny-1.0-py3-none-any.whl", hashlib.sha256(wheel).hexdigest()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    dist = {"tarball": "https://read.test/npm/bb-tiny/-/bb-tiny-1.0.0.tgz", "integrity": integrity}
    versions = {"1.0.0": {"name": "bb-tiny", "version": "1.0.0", "dist": dist}}
    metadata = {"name": "bb-tiny", "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    walled.service.pages |= {
        "/simple/bb-tiny/": ("text/html", f'<a href="/wheels/{name}#sha256={digest}">{name}</a>'.encode()),
        f"/wheels/{name}": ("application/octet-stream", wheel),
        "/npm/bb-tiny": ("application/json", json.dumps(metadata).encode()),
        "/npm/bb-tiny/-/bb-tiny-1.0.0.tgz": ("application/octet-stream", package),
    }


@pytest.mark.parametrize("host", ["read.test", "secret.test"])
def test_pip_installs(walled: Walled, registries: None, host: str) -> None:
    pip = "python3 -m pip" if not walled.handle.exec(["python3", "-m", "pip", "-V"]).wait().returncode else ""
    make = "" if pip else "[ -x venv/bin/pip ] || python3 -m venv venv || exit; "
    index = f"--no-cache-dir --disable-pip-version-check --index-url https://{host}/simple/"
    script = f"rm -rf site; {make}{pip or 'venv/bin/pip'} install -q {index} --target site bb-tiny && "
    script += "PYTHONPATH=site python3 -c 'import bb_tiny; print(bb_tiny.ANSWER)'"
    done = walled.handle.exec(["sh", "-c", script], timeout=120).wait()
    assert done.stdout == b"42\n", done
    assert walled.service.requests[-1].target.endswith(".whl")


def test_pip_fails_soon_where_it_may_not(walled: Walled) -> None:
    needs(walled, "pip")
    command = "python3 -m pip -vv download --no-cache-dir --retries 0 --index-url https://other.test/simple/ bb-tiny"
    done = walled.handle.exec(["sh", "-c", command], timeout=60).wait()
    assert done.returncode not in (0, 124)
    assert b"403" in done.stderr + done.stdout, done


def test_npm_installs(walled: Walled, node: dict[str, str], registries: None) -> None:
    needs(walled, "npm", node)
    script = (
        "rm -rf js && mkdir js && cd js && npm install --silent --no-audit --no-fund --no-update-notifier"
        " --registry https://read.test/npm/ bb-tiny && node -p 'require(\"bb-tiny\")'"
    )
    done = walled.handle.exec(["sh", "-c", script], env=node, timeout=120).wait()
    assert done.stdout.splitlines()[-1:] == [b"42"], done


_FETCH = """
const target = process.argv[1];
fetch(target).then(async r => console.log(r.status, await r.text())).catch(e => console.log('failed', e.cause || e));
"""
#: What programs on older Nodes do: undici, the library behind fetch, with a proxy of its own setting.
_UNDICI = """
const root = require('child_process').execSync('npm root -g').toString().trim();
const { fetch, ProxyAgent } = require(root + '/npm/node_modules/undici');
const dispatcher = new ProxyAgent(process.env.HTTPS_PROXY);
fetch(process.argv[1], { dispatcher }).then(async r => console.log(r.status, await r.text()))
  .catch(e => console.log('failed', e.cause || e));
"""
_HTTPS = """
const http = require('http'), https = require('https'), tls = require('tls');
const target = new URL(process.argv[1]), proxy = new URL(process.env.HTTPS_PROXY);
const ask = http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target.host + ':443' });
ask.on('connect', (answer, socket) => {
  if (answer.statusCode != 200) { console.log(answer.statusCode, answer.headers['x-bottle-denied']); process.exit(); }
  const agent = new https.Agent(); agent.createConnection = () => tls.connect({ socket, servername: target.host });
  https.get(target, { agent }, r => { r.setEncoding('utf8'); let text = ''; r.on('data', d => text += d);
    r.on('end', () => { console.log(r.statusCode, text); process.exit(); }); });
});
ask.end();
"""


def _node(walled: Walled, env: dict[str, str], program: str, url: str) -> str:
    needs(walled, "node", env)
    done = walled.handle.exec(["node", "-e", program, url], env=env, timeout=60).wait()
    return (done.stdout + done.stderr).decode()


def test_nodes_fetch_uses_the_proxy(walled: Walled, node: dict[str, str]) -> None:
    needs(walled, "node", node)
    text = walled.handle.exec(["node", "--version"], env=node).wait().stdout.decode()
    version = tuple(map(int, text.strip().lstrip("v").split(".")))
    if not (22, 21) <= version < (23,) and version < (24, 5):
        pytest.skip(f"fetch of Node {text.strip()} knows no proxy variables (22.21 and 24.5 do): see undici below")
    assert _node(walled, node, _FETCH, "https://read.test/echo").startswith("200 ")
    assert "403" in _node(walled, node, _FETCH, "https://other.test/")


def test_nodes_fetch_without_a_proxy_fails_at_once(walled: Walled, node: dict[str, str]) -> None:
    needs(walled, "node", node)
    done = walled.handle.exec(
        ["node", "-e", _FETCH, "https://ok.test/"], env={**node, "NODE_USE_ENV_PROXY": ""}, timeout=20
    )
    assert b"failed" in done.wait().stdout


def test_undici_through_the_proxy(walled: Walled, node: dict[str, str]) -> None:
    needs(walled, "npm", node)
    found = _node(walled, node, _UNDICI, "https://read.test/echo")
    if "Cannot find module" in found:
        pytest.skip("npm here does not bring undici")
    assert found.startswith("200 "), found
    assert "403" in _node(walled, node, _UNDICI, "https://other.test/")


def test_nodes_https_through_connect(walled: Walled, node: dict[str, str]) -> None:
    assert _node(walled, node, _HTTPS, "https://read.test/echo").startswith("200 ")
    assert _node(walled, node, _HTTPS, "https://other.test/").startswith("403 no-route")
