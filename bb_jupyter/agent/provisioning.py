"""Steps of provisioning that are the same for every agent, and for a bottle without an agent."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from bb_jupyter.agent.guest import Guest, GuestPlan, run
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER

if TYPE_CHECKING:
    from bb_jupyter.broker.broker_plan import GitGatePlan

#: Variables with the path of the CA bundle, for OpenSSL and Python, Node, requests, curl, git, Cargo, pip, AWS tools.
CA_VARIABLES = (
    "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE",
)  # fmt: skip

# Writes the image's own bundle (paths of Debian and Alpine, Fedora, openSUSE, as in Go's crypto/x509) and the gateway's
# CA.  The input may arrive late; when it is empty, nothing is written.
_BUNDLE = """
mkdir -p "${1%/*}" || exit
for name in certs/ca-certificates.crt ../pki/tls/certs/ca-bundle.crt ca-bundle.pem cert.pem; do
  file=/etc/ssl/$name; [ -r "$file" ] && break
done
ca=$(cat); [ "$ca" ] || exit
{ [ -r "$file" ] && cat "$file"; printf '\\n%s\\n' "$ca"; } >"$1"
"""


def ca_path(guest_home: str) -> str:
    """Return the path of the CA bundle in the bottle."""
    return posixpath.join(guest_home, BOTTLE_FOLDER, "ca.pem")


def ca_env(guest_home: str) -> dict[str, str]:
    """Return variables by which programs in the bottle find the CA bundle."""
    return dict.fromkeys(CA_VARIABLES, ca_path(guest_home))


def ca_command(guest_home: str) -> list[str]:
    """Return the command that writes the CA bundle; its input is the gateway's certificate."""
    return ["sh", "-c", _BUNDLE, "sh", ca_path(guest_home)]


def provision_ca(plan: GuestPlan, bottle: Guest, ca_pem: str) -> None:
    """Write the CA bundle: the certificates that the image trusts, and the gateway's.

    Raises:
        BottleError: a command failed in the bottle.
    """
    run(bottle, "install the gateway's certificate", ca_command(plan.guest_home), ca_pem.encode())


def provision_skills(plan: GuestPlan, bottle: Guest, folder: str) -> None:
    """Copy the skills into *folder* of the agent's home.

    Raises:
        BottleError: a command failed in the bottle.
    """
    target = posixpath.join(plan.guest_home, folder)
    run(bottle, "make the folder of skills", ["mkdir", "-p", target])
    for skill in plan.agent_provision.skills if plan.agent_provision else ():
        bottle.cp_in(skill.source, posixpath.join(target, skill.name))


def provision_git(plan: GuestPlan, bottle: Guest, gate: GitGatePlan) -> None:
    """Configure git for every program in the bottle: name, address, and the gate in place of each repository's URL.

    The image need not have git; the agent may install it later.  For an upstream that is a path, an empty repository is
    made at that path, because ``git clone PATH`` requires one before it applies ``insteadOf``.

    Raises:
        BottleError: a command failed in the bottle.
    """
    run(bottle, "configure git", ["sh", "-c", _APPEND], git_config(plan, gate).encode())
    paths = [repo.url for repo in gate.repos if repo.url.startswith("/")]
    if paths:
        run(bottle, "stand in for local repositories", ["sh", "-c", _STAND_IN, "sh", *paths])


# A user who cannot write there clones by file://PATH.
_STAND_IN = """
for path; do
  [ -e "$path" ] || { mkdir -p "$path/objects" "$path/refs" && echo "ref: refs/heads/main" >"$path/HEAD"; } 2>/dev/null
done
true
"""
_APPEND = 'cat >>"$HOME/.gitconfig"'


def git_config(plan: GuestPlan, gate: GitGatePlan) -> str:
    """Return lines for the bottle's ``~/.gitconfig``; see git-config(1) for the syntax."""
    from bb_jupyter.broker.git_gate import spellings

    base = f"{plan.git_gate_insteadof_scheme}://{plan.git_gate_insteadof_host}/"
    lines = ["# The git gate of this bottle: pushes wait there for a human."]
    if gate.user_name and gate.user_email:
        lines += ["[user]", f"\tname = {_quoted(gate.user_name)}", f"\temail = {_quoted(gate.user_email)}"]
    lines += [f"[http {_quoted(base)}]", "\tproxy ="]
    lines += ["[lfs]", "\tfetchexclude = *"]  # LFS objects stay pointers instead of failing a clone
    for repo in gate.repos:
        lines.append(f"[url {_quoted(f'{base}{repo.alias}.git')}]")
        lines += [f"\tinsteadOf = {_quoted(url)}" for url in spellings(repo.url, repo.username)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
