"""The git gate: what a bottle's git reaches instead of its upstreams.

A bottle clones, fetches and pushes with the upstreams' own URLs; ``url.<gate>.insteadOf`` leads them here.  For each
repository there is a bare `mirror`.  A fetch refreshes it first and fails when upstream does.  A push is checked
(`rules`, `incoming`, `findings`) while its objects are in quarantine, then held as a proposal of the human's queue
(`hold`); when that is approved, exactly these objects go upstream (`releasing`).  No credential and no route to an
upstream is in the bottle.

What a push reports to the bottle: refused, every ref is rejected and git exits with 1.  Held, git exits with 0 and says
``* [new reference] main -> refs/held/7/heads/main``: the commits are safe and somebody looks, but ``origin/main`` stays
where upstream is.  An error would have made agents try again and try other ways; a plain success would have been a lie.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb_jupyter.broker.git_gate.git_server import app
    from bb_jupyter.broker.git_gate.mirror import Mirror, remove_abandoned, remove_mirrors
    from bb_jupyter.broker.git_gate.release_push import release
    from bb_jupyter.broker.git_gate.urls import spellings

__all__ = ["Mirror", "app", "release", "remove_abandoned", "remove_mirrors", "spellings"]

_HOME_OF = {
    "app": "git_server",
    "Mirror": "mirror",
    "remove_mirrors": "mirror",
    "remove_abandoned": "mirror",
    "release": "release_push",
    "spellings": "urls",
}


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
