"""Images built from Dockerfiles: when, with what, and what a failure says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from bb_jupyter.backend.base import Progress
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.container_engine import guest_image, image, image_build
from bb_jupyter.backend.shared.image_choice import choose_dockerfile
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import BuildFailed, UsageError
from bb_jupyter.manifest import AgentProviderRef, BottleManifest
from tests.docker.conftest import Launch, Plan, out
from tests.leftovers import Engine

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, bottle_name: str, engine: Engine) -> Iterator[Write]:
    """Write a Dockerfile into a folder of the bottle's name; its images go at the end: ask for it before `launch`."""
    folder = tmp_path / bottle_name

    def make(text: str) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n" + text)
        return folder / "Dockerfile"

    yield make
    engine.forget_images(bottle_name)


def test_a_dockerfile_is_built_on_the_base_image(write: Write, launch: Launch, prepare: Plan, engine: Engine) -> None:
    dockerfile = write("RUN echo built > /built\n")
    assert "to be built" in prepare(dockerfile=dockerfile).root
    bottle = launch(dockerfile=dockerfile)
    assert out(bottle, "cat /built; whoami") == "built\nagent\n"
    assert engine.base_image in bottle.plan.root


def test_it_is_built_once_and_again_when_something_changed(
    nothing_left: None, backend: DockerBackend, write: Write, prepare: Plan, tmp_path: Path
) -> None:
    def stages() -> set[str]:
        seen: list[Progress] = []
        with backend.launch(prepare(dockerfile=dockerfile), on_progress=seen.append):
            return {step.stage.split()[0] for step in seen}

    dockerfile = write("COPY data /data\n")
    (dockerfile.parent / "data").write_text("1")
    assert "build" in stages()
    assert "build" not in stages()
    assert "to be built" not in prepare(dockerfile=dockerfile).root
    (dockerfile.parent / "data").write_text("2")
    assert "build" in stages()


def test_what_dockerignore_names_changes_nothing(prepare: Plan, write: Write) -> None:
    dockerfile = write("")
    (dockerfile.parent / ".dockerignore").write_text("# comment\nnotes\n")
    before = image_build.tag(dockerfile, "base", "id")
    (dockerfile.parent / "notes").write_text("x")
    assert image_build.tag(dockerfile, "base", "id") == before
    assert image_build.tag(dockerfile, "base", "other id") != before


def test_the_log_comes_as_steps(nothing_left: None, backend: DockerBackend, write: Write, prepare: Plan) -> None:
    seen: list[Progress] = []
    plan = prepare(dockerfile=write("RUN echo first\nRUN echo second\n"))
    with backend.launch(plan, on_progress=seen.append):
        pass
    steps = [(step.done, step.total) for step in seen if step.stage.startswith("build")]
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1] >= 4
    assert {"first", "second"} <= {step.line for step in seen}


def test_a_failing_build_says_where_and_what(
    nothing_left: None, backend: DockerBackend, write: Write, prepare: Plan
) -> None:
    plan = prepare(dockerfile=write("RUN echo on the way; echo it broke >&2; exit 7\n"))
    with pytest.raises(BuildFailed) as caught, backend.launch(plan):
        pytest.fail("it was launched")
    lines = str(caught.value).splitlines()
    assert "/Dockerfile: step 3 of " in lines[0]
    assert {"on the way", "it broke"} <= set(lines) and "7" in lines[-1]
    assert len(lines) <= 12


def test_a_dockerfile_with_an_error_is_said(
    nothing_left: None, backend: DockerBackend, write: Write, prepare: Plan
) -> None:
    with (
        pytest.raises(BuildFailed, match=r"(?i)unknown instruction"),
        backend.launch(prepare(dockerfile=write("NONSENSE\n"))),
    ):
        pytest.fail("it was launched")


def test_a_missing_dockerfile_is_said(prepare: Plan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no Dockerfile"):
        prepare(dockerfile=tmp_path / "Dockerfile")


def test_the_bottles_own_dockerfile_wins_over_its_providers(tmp_path: Path) -> None:
    for name in ("own", "manifest", "provider"):
        (tmp_path / name).write_text("")
    provider = AgentProviderRef(dockerfile=str(tmp_path / "provider"))
    spec = BottleSpec("x", "docker", manifest=BottleManifest(name="", agent_provider=provider))
    assert choose_dockerfile(spec) == tmp_path / "provider"
    manifest = BottleManifest(name="", dockerfile=str(tmp_path / "manifest"), agent_provider=provider)
    assert choose_dockerfile(BottleSpec("x", "docker", manifest=manifest)) == tmp_path / "manifest"
    spec = BottleSpec("x", "docker", manifest=manifest, dockerfile=tmp_path / "own")
    assert choose_dockerfile(spec) == tmp_path / "own"
    assert choose_dockerfile(BottleSpec("x", "docker")) is None


def test_the_hosts_ca_bundle_is_trusted_in_builds_alone(
    write: Write, launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in image_build._CA_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "corporate.pem").write_text("the corporation's certificate\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "corporate.pem"))
    shell = Path(image.__file__).parents[3] / "contrib/shell/Dockerfile"
    recipe = shell.read_text().partition("${BASE_IMAGE}\n")[2]
    seen = "RUN cp $NODE_EXTRA_CA_CERTS /seen && tail -n 1 /etc/ssl/certs/ca-certificates.crt >> /seen\n"
    bottle = launch(dockerfile=write(recipe + seen))
    assert out(bottle, "cat /seen") == "the corporation's certificate\n" * 2
    assert out(bottle, "echo $NODE_EXTRA_CA_CERTS $SSL_CERT_FILE") == "\n"


def test_without_a_ca_bundle_the_same_dockerfile_works(
    write: Write, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in image_build._CA_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    bottle = launch(
        dockerfile=write('COPY bb-ca.crt /ca\nARG SSL_CERT_FILE\nRUN echo "${SSL_CERT_FILE-unset}" >> /ca\n')
    )
    assert out(bottle, "cat /ca") == "unset\n"


def test_the_guest_image_is_made_once_for_an_image(engine: Engine, api: docker.APIClient, launch: Launch) -> None:
    launch()
    tag = guest_image.tag(api.inspect_image(engine.base_image)["Id"])
    first = api.inspect_image(tag)["Id"]
    guest_image.make(DockerBackend().engine(), api.inspect_image(engine.base_image)["Id"])
    assert api.inspect_image(tag)["Id"] == first
