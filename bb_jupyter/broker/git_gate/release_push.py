"""An approved push goes upstream: exactly the approved objects, and only if upstream is what it was compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from bb_jupyter.approvals import Outcome, Proposal, Queue, get, is_alive, status
from bb_jupyter.approvals.kinds import push
from bb_jupyter.approvals.kinds.push import PushContent, Ref
from bb_jupyter.broker.broker_config import GitRepoConfig
from bb_jupyter.broker.git_gate.environment import GitFailed, git
from bb_jupyter.broker.git_gate.git_errors import explain, plain, short
from bb_jupyter.broker.git_gate.mirror import Mirror, remove_abandoned
from bb_jupyter.broker.git_gate.push_rules import NOTHING
from bb_jupyter.broker.git_gate.transport import reaching
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.gateway.proxy.redact import Masker

_TIMEOUT: Final = 600.0


def release(id_: int, *, repos: Iterable[GitRepoConfig] = (), resolve: Callable[[str], str] | None = None) -> Outcome:
    """Bring an approved push upstream, all that was approved of it or nothing, and report what came of it.

    Blocks; may be called from any process of the user.  Who comes second finds it done.

    Args:
        id_: the proposal's number.
        repos: the bottle's repositories **with credentials**, in its broker; elsewhere the credential that the proposal
            names is found again.
        resolve: gives the value of a ``token_ref``; `bb_jupyter.manifest.resolve_token` by default.

    Returns:
        What came of it.  After a failure nothing has changed upstream, and the push is held still.

    Raises:
        UnknownProposal: there is none of that number.
        UsageError: it is no approved push.
    """
    proposal = get(id_)
    if proposal.kind != push.kind.name or status(id_).state != "approved":
        raise UsageError(f"request {id_} is no approved push")
    queue = Queue(proposal.slug, proposal.bottle)
    try:
        repo = _repo(push.kind.read(proposal), repos, resolve)
        return _release(proposal, Mirror(proposal.slug, repo), queue)
    except BottleError as error:
        return queue.report(id_, ok=False, held=True, text=str(error).replace("\n", " — "))


def _release(proposal: Proposal, mirror: Mirror, queue: Queue) -> Outcome:
    if not mirror.path.is_dir():
        return queue.report(proposal.id, ok=False, text=f"the mirror with its commits is gone: {mirror.path}")
    with mirror.lock(), reaching(mirror.repo) as env:
        standing = status(proposal.id)
        if standing.decision is None or standing.outcome is not None:
            return standing.outcome or queue.report(proposal.id, ok=False, text="not approved")
        refs = chosen_refs(proposal, standing.decision.answer.get("refs"))
        _push(mirror, refs, env)
        names = [ref.name for ref in refs]
        text = f"released to {mirror.repo.url}: {', '.join(map(plain, names))}"
        outcome = queue.report(proposal.id, ok=True, text=text, detail={"refs": names})
    if is_alive(proposal.slug):
        with suppress(BottleError):
            mirror.refresh()
    else:
        remove_abandoned(proposal.slug)  # the bottle has ended, and this was what it waited for
    return outcome


def chosen_refs(proposal: Proposal, refs: Collection[str] | None) -> list[Ref]:
    """Return the refs of a held push that are meant.

    Raises:
        UsageError: it has no such ref, none is meant, or one does not name its objects in full.
    """
    held = push.kind.read(proposal).refs
    chosen = [ref for ref in held if refs is None or ref.name in refs]
    if not chosen or {*(refs or ())} - {ref.name for ref in held} or not all(ref.is_exact for ref in chosen):
        raise UsageError(f"request {proposal.id} does not hold what was approved")
    return chosen


def _repo(content: PushContent, repos: Iterable[GitRepoConfig], resolve: Callable[[str], str] | None) -> GitRepoConfig:
    names = ("alias", "url", "identity", "host_key", "username", "token_ref", "ca")
    fields = {name: getattr(content, name) for name in names}
    wanted = GitRepoConfig(**fields)
    for repo in repos:
        if all(getattr(repo, name) == value for name, value in fields.items()):
            return repo
    if not wanted.token_ref:
        return wanted
    from bb_jupyter.manifest import resolve_token

    return replace(wanted, token=(resolve or resolve_token)(wanted.token_ref))


def _push(mirror: Mirror, refs: list[Ref], env: Mapping[str, str]) -> None:
    """Run the push.

    The lease makes it depend on what upstream has, and allows a rewrite only if it is this very one (git-push(1)).

    Raises:
        BottleError: upstream refused, moved or was not reached.
    """
    leases = (f"--force-with-lease={ref.name}:{'' if ref.old == NOTHING else ref.old}" for ref in refs)
    specs = (f"{'' if ref.new == NOTHING else ref.new}:{ref.name}" for ref in refs)
    atomic = ["--atomic"] if len(refs) > 1 else []
    command = [
        "push",
        "--porcelain",
        "--no-verify",
        "--no-follow-tags",
        *atomic,
        *leases,
        "--",
        mirror.repo.url,
        *specs,
    ]
    try:
        git(command, folder=mirror.path, env=env, timeout=_TIMEOUT)
    except GitFailed as error:
        said = Masker([mirror.repo.token]).mask(error.stdout).decode("utf-8", "replace")  # the agent reads it
        raise BottleError("; ".join(_refusals(said, refs)) or explain(error, mirror.repo)) from None


def _refusals(porcelain: str, refs: list[Ref]) -> list[str]:
    """Say in words what git's porcelain says of each ref that was refused."""
    old = {ref.name: ref.old for ref in refs}
    refused = []
    for line in porcelain.splitlines():
        flag, _, rest = line.partition("\t")
        names, _, why = rest.partition("\t")
        name = names.partition(":")[2]
        if flag != "!" or name not in old or "atomic" in why:
            continue
        if "stale info" in why:
            was = f"is not at {short(old[name])} any more" if old[name] != NOTHING else "exists now"
            refused.append(f"upstream moved: {plain(name)} {was}; the agent has to fetch, rebase and push again")
        else:
            refused.append(f"upstream refused {plain(name)}: {plain(why)}")
    return refused
