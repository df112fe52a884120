"""What is asked of the host: packages, its mirror, its certificates."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.engine.errors import EngineError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def call(argv: Sequence[str], **env: str) -> str:
    """Run *argv* and return its output.

    Raises:
        EngineError: it failed or does not exist; the message ends in its last lines.
    """
    try:
        done = subprocess.run(
            argv, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except FileNotFoundError as error:
        raise EngineError(f"{argv[0]} is not installed") from error
    if done.returncode:
        raise EngineError(
            f"`{' '.join(argv)}` failed ({done.returncode}):\n" + "\n".join(done.stdout.splitlines()[-8:])
        )
    return done.stdout


def apt_install(*packages: str) -> None:
    """Install Debian packages.

    Raises:
        EngineError: this is no Debian or Ubuntu, or we are not root; the message says what to type.
    """
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() or not shutil.which("apt-get"):
        raise EngineError(f"missing: {' '.join(packages)}\nAs root: {' '.join(command)}")
    print("tests.engine: installing", *packages, flush=True)
    call(["apt-get", "update"])
    call(command, DEBIAN_FRONTEND="noninteractive")


def os_release() -> dict[str, str]:
    """Return the fields of `/etc/os-release` (os-release(5))."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}


def apt_mirror(suite: str) -> str:
    """Return the URL from which this machine's apt takes *suite*.

    Raises:
        EngineError: apt has no such source.
    """
    form = "$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)"
    for _ in range(2):
        for line in call(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines():
            origin, release, component, url = line.split(" ", 3)
            if origin in ("Debian", "Ubuntu") and (release, component) == (suite, "main"):
                return url
        call(["apt-get", "update"])  # a fresh machine knows the origin of its sources only after this
    raise EngineError(f"apt on this machine has no source for {suite} main")


def apt_proxy() -> dict[str, str]:
    """Return the proxy of apt as environment variables for other programs; empty when it has none."""
    kept = re.search(r"P='(.+)'", call(["apt-config", "shell", "P", "Acquire::http::Proxy"]))
    return {"http_proxy": kept[1]} if kept else {}


def host_certificates() -> list[bytes]:
    """Return the certificates that this host trusts, as PEM blocks: a proxy's own authority may be among them."""
    bundle = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    return certificates(bundle) if bundle.is_file() else []


def certificates(bundle: Path) -> list[bytes]:
    """Return the PEM blocks of a bundle, each ending in a line feed."""
    return [block.rstrip() + b"\n" for block in _CERTIFICATE.findall(bundle.read_bytes())]
