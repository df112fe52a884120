"""Which kernel a bottle belongs to: its owner is a process, the server knows the processes of its kernels."""

from __future__ import annotations

from jupyter_server.serverapp import ServerApp

from bb_jupyter.process.identity import ProcessIdentity


class Kernels:
    """The kernels of one server.

    Args:
        server: knows them.
    """

    def __init__(self, server: ServerApp) -> None:
        self._manager = server.kernel_manager

    def of(self, owner: ProcessIdentity) -> str:
        """Return the id of the kernel that is *owner*; empty when it is none of this server's."""
        here = ProcessIdentity.current()
        if (owner.host, owner.boot_id, owner.pid_namespace) != (here.host, here.boot_id, here.pid_namespace):
            return ""
        return next((kernel for kernel in self._manager.list_kernel_ids() if self._pid(kernel) == owner.pid), "")

    def _pid(self, kernel: str) -> int | None:
        """Return a kernel's process; one that runs elsewhere has none here."""
        try:
            provisioner = self._manager.get_kernel(kernel).provisioner
        except KeyError:  # it ended meanwhile
            return None
        pid: int | None = getattr(provisioner, "pid", None)
        return pid
