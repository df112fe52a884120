"""The steps of provisioning that are the same for every agent, and for a bottle without one."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bb_jupyter.agent.guest import Guest, GuestPlan, run
from bb_jupyter.agent.plan import BOTTLE_FOLDER

if TYPE_CHECKING:
    from bb_jupyter.gateway.plan import GitGatePlan

#: Variables by which programs find the CA bundle: OpenSSL and Python, Node, requests, curl, git, Cargo, pip, AWS's.
CA_VARIABLES = (
    "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE",
)  # fmt: skip

# The image's own bundle (Debian and Alpine, Fedora, openSUSE: as Go's crypto/x509 looks for it), then the gateway's CA.
_BUNDLE = """
mkdir -p "${1%/*}" || exit
for name in certs/ca-certificates.crt ../pki/tls/certs/ca-bundle.crt ca-bundle.pem cert.pem; do
  file=/etc/ssl/$name; [ -r "$file" ] && break
done
{ [ -r "$file" ] && cat "$file"; cat; } >"$1"
"""


def ca_path(guest_home: str) -> str:
    """Return where the CA bundle lies in the bottle."""
    return posixpath.join(guest_home, BOTTLE_FOLDER, "ca.pem")


def ca_env(guest_home: str) -> dict[str, str]:
    """Return the variables by which programs in the bottle find the CA bundle."""
    return dict.fromkeys(CA_VARIABLES, ca_path(guest_home))


def provision_ca(plan: GuestPlan, bottle: Guest, ca_pem: str) -> None:
    """Write the CA bundle: what the image trusts, and the gateway's certificate.

    Raises:
        BottleError: it failed.
    """
    argv = ["sh", "-c", _BUNDLE, "sh", ca_path(plan.guest_home)]
    run(bottle, "install the gateway's certificate", argv, b"\n" + ca_pem.encode())


def provision_skills(plan: GuestPlan, bottle: Guest, folder: str) -> None:
    """Copy the skills into *folder* of the agent's home.

    Raises:
        BottleError: it failed.
    """
    target = posixpath.join(plan.guest_home, folder)
    run(bottle, "make the folder of skills", ["mkdir", "-p", target])
    for skill in plan.agent_provision.skills if plan.agent_provision else ():
        bottle.cp_in(skill.source, posixpath.join(target, skill.name))


def provision_git(plan: GuestPlan, bottle: Guest, gate: GitGatePlan) -> None:
    """Configure git for all of the agent's repositories: name, address, and `url.<gate>.insteadOf` for each repository.

    Raises:
        BottleError: it failed, such as when the image has no git.
    """
    for key, value in git_settings(plan, gate).items():
        run(bottle, "configure git", ["git", "config", "--global", key, value])


def git_settings(plan: GuestPlan, gate: GitGatePlan) -> Mapping[str, str]:
    """Return what git is told; see `provision_git`."""
    base = f"{plan.git_gate_insteadof_scheme}://{plan.git_gate_insteadof_host}"
    settings = {"user.name": gate.user_name, "user.email": gate.user_email}
    settings |= {f"url.{base}/{repo.alias}.git.insteadOf": repo.url for repo in gate.repos}
    return {key: value for key, value in settings.items() if value}
