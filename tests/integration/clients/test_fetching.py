"""curl, wget and Python's libraries: they find the proxy and the CA by the bottle's variables alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.attack.conftest import Walled
from tests.integration.clients.conftest import needs

#: Each prints the status and the body of the URL in its first argument.
_PYTHON = {
    "urllib": """
import sys, urllib.request, urllib.error
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
""",
    "requests": "import sys, requests\nr = requests.get(sys.argv[1], timeout=20)\nprint(r.status_code, r.text)",
    "httpx": "import sys, httpx\nr = httpx.get(sys.argv[1], timeout=20)\nprint(r.status_code, r.text)",
}
_WITH = {
    "urllib": (),
    "requests": ("requests", "urllib3", "certifi", "idna", "charset_normalizer"),
    "httpx": ("httpx", "httpcore", "h11", "anyio", "certifi", "idna", "sniffio", "typing_extensions"),
}


def _python(walled: Walled, library: str, url: str) -> str:
    for name in _WITH[library]:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            continue  # not every version needs all of them
        source = Path(found.origin).parent if found.submodule_search_locations else Path(found.origin)
        walled.handle.cp_in(source, f"lib/{source.name}")
    env = {"PYTHONPATH": f"{walled.handle.plan.guest_home}/lib", "PYTHONDONTWRITEBYTECODE": "1"}
    done = walled.handle.exec(["python3", "-c", _PYTHON[library], url], env=env, timeout=60).wait()
    return (done.stdout + done.stderr).decode()


@pytest.fixture(autouse=True)
def _folder(walled: Walled) -> None:
    walled.handle.exec(["mkdir", "-p", "lib"]).wait()


@pytest.mark.parametrize("library", _WITH)
@pytest.mark.parametrize("url", ["https://read.test/echo", "http://plain.test/echo"])
def test_python_libraries_reach_what_is_listed(walled: Walled, library: str, url: str) -> None:
    before = len(walled.service.requests)
    assert _python(walled, library, url).startswith("200 "), _python(walled, library, url)
    assert walled.service.requests[before].secure == url.startswith("https")


@pytest.mark.parametrize("library", _WITH)
def test_python_libraries_are_told_why_not(walled: Walled, library: str) -> None:
    assert _python(walled, library, "http://other.test/").startswith("403 bottle: denied (no-route)")
    assert "403" in _python(walled, library, "https://other.test/")


@pytest.mark.parametrize("library", _WITH)
def test_python_libraries_never_see_the_credential_that_is_put_in(walled: Walled, library: str) -> None:
    assert _python(walled, library, "https://secret.test/reflect").startswith("500 error: bad credential Bearer ****")
    assert walled.service.requests[-1].headers["Authorization"].startswith("Bearer sk-attack/")


@pytest.mark.parametrize("options", [(), ("--http1.1",), ("--http2",), ("--compressed",), ("--tlsv1.2",), ("--ipv4",)])
def test_curl_downloads(walled: Walled, options: tuple[str, ...]) -> None:
    data = bytes(range(256)) * 4096
    (walled.service.folder / "large.bin").write_bytes(data)
    url = "https://read.test/files/large.bin"
    done = walled.handle.exec(["curl", "-sS", *options, url], timeout=60).wait()
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_curl_uploads(walled: Walled) -> None:
    size = 3 << 20
    script = f"head -c {size} /dev/zero | curl -sS -T - -X POST https://post.test/upload"
    done = walled.handle.exec(["sh", "-c", script], timeout=60).wait()
    assert f'"body": {size}'.encode() in done.stdout, done


def test_curl_shows_the_denial_and_what_to_do(walled: Walled) -> None:
    done = walled.curl("-i", "http://other.test/")
    assert b"403 Forbidden" in done.stdout
    assert f"%bottle allow {walled.handle.name} other.test".encode() in done.stdout
    assert walled.curl("https://other.test/").returncode == 56  # CURLE_RECV_ERROR: the proxy refused CONNECT
    assert b"bottle: denied (method)" in walled.curl("-d", "x", "https://read.test/").stdout


def test_wget_downloads(walled: Walled) -> None:
    needs(walled, "wget")
    ca = f"{walled.handle.plan.guest_home}/.bottle/ca.pem"
    ca = walled.handle.exec(["sh", "-c", 'printf %s "$SSL_CERT_FILE"']).wait().stdout.decode() or ca
    done = walled.handle.exec(["wget", "-q", "-O", "-", f"--ca-certificate={ca}", "https://read.test/echo"]).wait()
    assert b"service" in done.stdout, done
