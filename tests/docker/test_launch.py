"""Nothing is left, at whatever moment a launch ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import docker
import pytest

from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.container_engine import container, guest_image
from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import BackendUnavailable, UsageError
from bb_jupyter.manifest import allowed_route
from tests.docker.conftest import Launch, Plan, out, until
from tests.leftovers import Engine


class Stop(BaseException):
    """What nobody expects."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["create_container_from_config", "put_archive", "start"])
def test_an_exception_at_any_request_leaves_nothing(
    nothing_left: None,
    backend: DockerBackend,
    prepare: Plan,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    step: str,
    when: str,
) -> None:
    (tmp_path / "file").write_text("x")
    plan = prepare(copies=(Copy(tmp_path / "file", PurePosixPath("file")),))
    real = getattr(docker.APIClient, step)

    def failing(self: docker.APIClient, *args: Any, **options: Any) -> Any:
        if when == "after":
            real(self, *args, **options)
        raise Stop

    monkeypatch.setattr(docker.APIClient, step, failing)
    with pytest.raises(Stop), backend.launch(plan):
        pytest.fail("it was launched")


def test_a_provider_that_fails_leaves_nothing(
    nothing_left: None, backend: DockerBackend, prepare: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(backend, "provision", fail)
    with pytest.raises(Stop), backend.launch(prepare(keep=True)):
        pytest.fail("it was launched")


@pytest.mark.parametrize("step", ["create", "start"])
def test_an_interrupt_in_the_middle_of_a_request_leaves_nothing(
    nothing_left: None, backend: DockerBackend, prepare: Plan, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real: Callable[..., Any] = getattr(container, step)
    answered = threading.Event()

    def slow(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            return real(*args)  # answered after the interrupt
        finally:
            answered.set()

    monkeypatch.setattr(container, step, slow)
    with pytest.raises(KeyboardInterrupt), backend.launch(prepare()):
        pytest.fail("it was launched")
    assert answered.wait(60)


def test_an_interrupt_while_a_command_starts_ends_the_command(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    bottle = launch()
    real = docker.APIClient.exec_start

    def slow(self: docker.APIClient, *args: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(docker.APIClient, "exec_start", slow)
        with pytest.raises(KeyboardInterrupt):
            bottle.exec(["sleep", "4321"])
    until(lambda: "4321" not in out(bottle, "ps -eo args | grep '[s]leep' || :"))


def test_files_are_copied_in_for_their_user(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("x")
    copies = tuple(Copy(tmp_path / "tree", PurePosixPath(target)) for target in ("a/b/tree", ".", "/opt/tree"))
    bottle = launch(copies=copies)
    owners = out(bottle, "stat -c '%u %n' a a/b/tree/inner/file tree/inner/file /opt/tree/inner/file").splitlines()
    assert owners == [
        f"1000 {name}" for name in ("a", "a/b/tree/inner/file", "tree/inner/file", "/opt/tree/inner/file")
    ]


def test_an_image_that_is_not_there_and_cannot_be_pulled_is_said(
    nothing_left: None, backend: DockerBackend, prepare: Plan
) -> None:
    plan = prepare(image="127.0.0.1:9/no/such:image")
    assert "to be pulled" in plan.root
    said = r"cannot pull image '127.0.0.1:9/no/such:image'.*\n.*--image NAME"
    with pytest.raises(BackendUnavailable, match=said), backend.launch(plan):
        pytest.fail("it was launched")


def test_a_name_that_is_no_images_is_said(prepare: Plan) -> None:
    with pytest.raises(UsageError, match="not the name of an image"):
        prepare(image="Not An Image")


def test_an_image_without_a_shell_is_said(
    nothing_left: None, backend: DockerBackend, prepare: Plan, api: docker.APIClient, bottle_name: str
) -> None:
    from docker.utils.build import create_archive

    name = f"bb-test-empty-{bottle_name}"
    with create_archive("/", files=[], extra_files=[("file", "x")]) as archive:
        api.import_image_from_data(archive.read(), repository=name)
    try:
        with pytest.raises(UsageError, match="has no /bin/sh"), backend.launch(prepare(image=name)):
            pytest.fail("it was launched")
    finally:
        _forget(api, name)


@pytest.fixture
def image_with(api: docker.APIClient, engine: Engine, bottle_name: str) -> Iterator[Callable[..., str]]:
    """Make an image of busybox with more lines of a Dockerfile."""
    made: list[str] = []

    def make(*lines: str) -> str:
        container = api.create_container(engine.busybox_image, ["/bin/sh"], network_disabled=True)["Id"]
        try:
            made.append(api.commit(container, f"bb-test-{bottle_name}", str(len(made)), changes=[*lines])["Id"])
        finally:
            api.remove_container(container)
        return f"bb-test-{bottle_name}:{len(made) - 1}"

    yield make
    for image in made:
        with contextlib.suppress(docker.errors.ImageNotFound):
            api.remove_image(guest_image.tag(image), force=True)
        api.remove_image(image, force=True)


def test_an_image_decides_nothing_of_what_runs(image_with: Callable[..., str], launch: Launch) -> None:
    image = image_with(
        'ENTRYPOINT ["/bin/false"]', 'CMD ["/bin/false"]', "USER nobody", "ONBUILD RUN false",
        "HEALTHCHECK CMD touch /tmp/checked", "VOLUME /data", "WORKDIR /somewhere", "ENV http_proxy=http://192.0.2.1",
    )  # fmt: skip
    bottle = launch(image=image, routes=(allowed_route("ok.test"),))
    assert out(bottle, "id -u; pwd; cat /proc/1/comm; echo $http_proxy; echo x >note").split() == [
        "1000", "/home/agent", "sh", "http://egress:3128",
    ]  # fmt: skip


def test_an_image_whose_volume_would_hide_the_home_is_said(
    nothing_left: None, backend: DockerBackend, prepare: Plan, image_with: Callable[..., str]
) -> None:
    plan = prepare(image=image_with("VOLUME /home"))
    with pytest.raises(UsageError, match=r"a volume at /home, .*\n.*--image"), backend.launch(plan):
        pytest.fail("it was launched")


def test_stopping_twice_is_no_error(launch: Launch, backend: DockerBackend) -> None:
    bottle = launch()
    backend.stop(bottle.slug)
    backend.stop(bottle.slug)
    assert not bottle.alive


def test_the_preflight_names_image_and_limits(prepare: Plan, engine: Engine) -> None:
    rows = dict(prepare().rows())
    assert engine.base_image in rows["root"]
    assert rows["network"] == "none"
    assert "agent (1000)" in rows["user"]


def _forget(api: docker.APIClient, name: str) -> None:
    api.remove_image(guest_image.tag(api.inspect_image(name)["Id"]), force=True)
    api.remove_image(name, force=True)
