"""What a failed git command means, in a line or two that an agent and a human can act on."""

from __future__ import annotations

import re
from typing import Final

from bb_jupyter.broker.broker_config import GitRepoConfig
from bb_jupyter.broker.git_gate.environment import GitFailed
from bb_jupyter.gateway.proxy.redact import Masker
from bb_jupyter.text.visible import one_line

_NOISE: Final = re.compile(r"^(?:remote:|fatal:|error:|warning:|hint:)\s*")
_TELLING: Final = re.compile("verification failed|Permission denied|not resolve|Connection |timed out|Authentication")
"""Among the many lines of ssh and curl, those that say what is wrong."""
_LONGEST: Final = 300


def plain(text: str, longest: int = _LONGEST) -> str:
    """Return *text* on one line, cut to *longest* characters, with every control and invisible character named."""
    return one_line(text, longest)


def explain(error: GitFailed, repo: GitRepoConfig) -> str:
    """Say why upstream could not be used: what was tried, and the line in which git said why."""
    said = [_NOISE.sub("", line.strip()) for line in error.output.splitlines()]
    said = [line for line in said if line and not line.startswith(("Please make sure", "and the repository exists"))]
    # What went wrong first is the cause; git's own conclusion ("Could not read from remote repository") comes after.
    telling = [line for line in said if _TELLING.search(line)] or said
    why = " / ".join(dict.fromkeys(telling[:2])) or error.message
    return Masker([repo.token]).mask_text(plain(f"upstream of '{repo.alias}' cannot be used: {why}"))


def short(sha: str) -> str:
    """Return the beginning of an object's name; what stands for no object is empty."""
    return sha[:10].strip("0") and sha[:10]
