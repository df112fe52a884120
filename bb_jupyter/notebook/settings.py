"""What `%config BottleMagics` sets: the defaults of every bottle and cell of this kernel."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics
from traitlets import Float, Integer, TraitError, Unicode, observe, validate

_LIMITS = ("memory", "cpus", "pids", "disk", "timeout")


class Settings(Magics):
    """Traits of `BottleMagics`, checked when they are set; heavy modules are imported only then."""

    backend = Unicode(
        "", help="Where bottles run: docker, bubblewrap, smolmachines; empty to choose by what works here."
    ).tag(config=True)
    memory = Unicode("", help="Limit of memory, such as 4g; empty for the built-in default.").tag(config=True)
    cpus = Float(None, allow_none=True, help="Limit of processors, such as 1.5; None for none.").tag(config=True)
    pids = Integer(None, allow_none=True, help="Limit of processes; None for the built-in default.").tag(config=True)
    disk = Unicode("", help="Limit of what a bottle writes, such as 4g; empty for the built-in default.").tag(
        config=True
    )
    timeout = Unicode("", help="Time limit of a cell, such as 30m; empty for none.").tag(config=True)
    output_cap = Integer(1 << 20, min=1 << 10, help="Most bytes of output that a cell shows; a log has all of it.").tag(
        config=True
    )

    @property
    def names(self) -> dict[str, Any]:
        """The user's variables."""
        return self.shell.user_ns if self.shell is not None else {}

    @validate("backend")
    def _known_backend(self, proposal: dict[str, Any]) -> str:
        from bb_jupyter.backend import registry
        from bb_jupyter.errors import did_you_mean

        name = str(proposal["value"])
        if name and name not in registry.names():
            raise TraitError(f"no backend is called '{name}'. {did_you_mean(name, registry.names())}")
        return name

    @validate(*_LIMITS)
    def _possible_limit(self, proposal: dict[str, Any]) -> object:
        from bb_jupyter.api import limits_of
        from bb_jupyter.errors import BottleError

        try:
            limits_of(**{proposal["trait"].name: proposal["value"]})
        except BottleError as error:
            raise TraitError(str(error)) from None
        return proposal["value"]

    @observe("backend", *_LIMITS)
    def _push(self, change: object) -> None:
        """Make the values the session's, so that bottles launched from Python have them too."""
        from bb_jupyter.api import limits_of
        from bb_jupyter.core.launch_options import DEFAULT_LIMITS
        from bb_jupyter.core.session import current

        session = current()
        session.default_backend = self.backend
        limits = limits_of(**{name: getattr(self, name) for name in _LIMITS})
        session.default_limits = DEFAULT_LIMITS.merged(limits)
