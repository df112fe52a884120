"""The plan of a launch in a microVM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.gateway import GATE_ADDRESS, PORTS

if TYPE_CHECKING:
    from bb_jupyter.backend.smolmachines.sdk import Target


@dataclass(frozen=True)
class CredentialPlan:
    """A credential that the cloud puts into requests, without its value.

    Attributes:
        name: name of the credential in the cloud.
        env_var: variable of the machine that holds the placeholder.
        host: exact host that gets it.
        token_ref: reference by which this host finds the value.
    """

    name: str
    env_var: str
    host: str
    token_ref: str


@dataclass(frozen=True, kw_only=True)
class SmolmachinesBottlePlan(BottlePlan):
    """A launch in a microVM.

    Attributes:
        target: `local` or `cloud`.
        machine: name of the machine.
        image: image of the machine: a name in a registry or, on this host, a docker-archive or a root file system.
        dockerfile: Dockerfile to build on it (local only); `None` to run the image unchanged.
        machine_user: `UID:GID` that commands run as.
        allow_hosts: hosts that the cloud lets the machine reach; empty for none.
        credentials: credentials that the cloud puts into requests.
        source: id of the machine that this one is branched from; empty for none.
        home_archive: tar file with the first content of the home (local only); `None` for an empty home.
    """

    target: Target = "local"
    machine: str = ""
    image: str = ""
    dockerfile: Path | None = None
    machine_user: str = ""
    allow_hosts: tuple[str, ...] = ()
    credentials: tuple[CredentialPlan, ...] = ()
    source: str = ""
    home_archive: Path | None = None

    @property
    def git_gate_insteadof_host(self) -> str:
        """See `BottlePlan`; an address, since the name service of a machine is not under our control."""
        return f"{GATE_ADDRESS}:{PORTS['git-gate']}"

    @property
    def git_gate_insteadof_scheme(self) -> str:
        """See `BottlePlan`; plain HTTP, since the connection does not leave this host."""
        return "http"

    def renamed(self, name: str, slug: str, stage_dir: Path) -> Self:
        """See `BottlePlan.renamed`; the machine is named after the slug."""
        return replace(super().renamed(name, slug, stage_dir), machine=machine_name(slug))

    def _network(self) -> str:
        if self.target == "local" or self.egress_plan is None:
            return super()._network()
        return f"{', '.join(self.allow_hosts)} and subdomains, as the smol cloud enforces it"


def machine_name(slug: str) -> str:
    """Return the name of the machine of a bottle."""
    return f"bb-{slug}"
