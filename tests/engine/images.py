"""The images of the tests, made on this machine: a build machine may have no registry to pull from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from tests.engine.errors import EngineError
from tests.engine.host import apt_install, apt_mirror, apt_proxy, call, certificates, host_certificates, os_release

BUSYBOX = "bb-test-busybox:latest"
_RECIPE = "1"  # raise it when the image must be made anew though neither packages nor certificates changed
_PACKAGES = ("ca-certificates", "git", "curl", "python3", "python3-venv", "procps", "busybox-static")
_OWN_CERTIFICATES = "usr/local/share/ca-certificates"
_PULLED = """
FROM {base}
COPY *.crt /{folder}/
RUN apt-get update && apt-get install --yes --no-install-recommends {packages} && update-ca-certificates
"""


def ensure_images(address: str, cache: Path, wanted: str = "") -> str:
    """Have the test images in the engine at *address*.

    Args:
        address: the engine, as in `DOCKER_HOST`.
        cache: folder that keeps the root file system between runs.
        wanted: a base image that the engine has, to use instead of our own.

    Returns:
        The name of the base image; `BUSYBOX` names the other one.

    Raises:
        EngineError: it cannot be made.
    """
    with contextlib.closing(docker.DockerClient(address, timeout=600)) as client, (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            base = wanted or _base_image(client, cache)
            if not _has(client, base):
                raise EngineError(f"the engine at {address} has no image {base}\nUnset BB_TEST_BASE_IMAGE.")
            if not _has(client, BUSYBOX):
                _make_busybox(client, base)
        except DockerException as error:
            raise EngineError(f"the test images cannot be made: {error}") from error
    return base


def _base_image(client: docker.DockerClient, cache: Path) -> str:
    words = " ".join((_RECIPE, os_release().get("VERSION_CODENAME", ""), *_PACKAGES))
    digest = hashlib.sha256(b"\n".join((words.encode(), *host_certificates()))).hexdigest()[:12]
    name, rootfs = f"bb-test-base:{digest}", cache / f"rootfs-{digest}.tar.gz"
    if not _has(client, name):
        print(f"tests.engine: making {name}, once", flush=True)
        if rootfs.exists() or os.geteuid() == 0:
            _make_rootfs(rootfs)
            client.api.import_image_from_file(str(rootfs), "bb-test-base", digest, changes=['CMD ["bash"]'])
            if not _has(client, name):  # podman imports as `latest`, whatever tag is asked for
                client.api.tag("bb-test-base:latest", "bb-test-base", digest)
        else:
            _build_on_pulled(client, name)
    return name


def _make_rootfs(rootfs: Path) -> None:
    """Make a minimal Debian or Ubuntu, of this host's release and from its mirror, as a tar file."""
    if rootfs.exists():
        return
    release = os_release()
    suite = release.get("VERSION_CODENAME", "")
    if release.get("ID") not in ("debian", "ubuntu"):
        raise EngineError(
            "the base image is made on Debian or Ubuntu only\nElsewhere, name one: BB_TEST_BASE_IMAGE=..."
        )
    if not shutil.which("debootstrap"):
        apt_install("debootstrap")
    components = "main,universe" if release["ID"] == "ubuntu" else "main"
    options = ["--variant=minbase", f"--components={components}", f"--include={','.join(_PACKAGES)}"]
    with tempfile.TemporaryDirectory(dir=rootfs.parent, prefix="rootfs-") as folder:
        root = Path(folder, "root")
        # A mount namespace of its own: a run that is killed leaves no /proc mounted in a folder that will be removed.
        call(["unshare", "--mount", "debootstrap", *options, suite, str(root), apt_mirror(suite)], **apt_proxy())
        for trash in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
            trash.unlink()
        _trust(root, root / "etc/ssl/certs/ca-certificates.crt")
        call(["chroot", str(root), "update-ca-certificates"])
        call(["tar", "--use-compress-program=gzip -1", "-C", str(root), "-cf", f"{folder}/rootfs.tar.gz", "."])
        Path(folder, "rootfs.tar.gz").rename(rootfs)
    for old in set(rootfs.parent.glob("rootfs-*.tar.gz")) - {rootfs}:
        old.unlink()


def _trust(root: Path, known: Path | None = None) -> None:
    """Write the host's certificates below *root*, but for those that *known* has."""
    folder = root / _OWN_CERTIFICATES
    folder.mkdir(parents=True, exist_ok=True)
    ours = set(certificates(known)) if known else set()
    for number, block in enumerate(block for block in host_certificates() if block not in ours):
        (folder / f"host-{number}.crt").write_bytes(block)


def _build_on_pulled(client: docker.DockerClient, name: str) -> None:
    """Without root there is no debootstrap: begin with the public image of a release instead."""
    print("tests.engine: not root, so debian:bookworm-slim is pulled", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        _trust(Path(folder))
        context = Path(folder, _OWN_CERTIFICATES)
        recipe = _PULLED.format(base="debian:bookworm-slim", folder=_OWN_CERTIFICATES, packages=" ".join(_PACKAGES))
        (context / "Dockerfile").write_text(recipe)
        client.images.build(path=str(context), tag=name, rm=True)


def _make_busybox(client: docker.DockerClient, base: str) -> None:
    """Make an image of nothing but busybox: no users, no bash, no Python."""
    applets = client.containers.run(base, ["busybox", "--list"], remove=True).decode().split()
    scratch = client.containers.create(base, ["true"])
    try:
        stream, _ = scratch.get_archive("/bin/busybox")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            binary = archive.extractfile("busybox").read()  # type: ignore[union-attr]
    finally:
        scratch.remove()
    rootfs = io.BytesIO()
    with tarfile.open(fileobj=rootfs, mode="w") as tar:
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(binary), 0o755
        tar.addfile(entry, io.BytesIO(binary))
        for applet in set(applets) - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    repository, tag = BUSYBOX.split(":")
    client.api.import_image_from_data(rootfs.getvalue(), repository, tag, changes=['CMD ["sh"]', "ENV PATH=/bin"])


def _has(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True
