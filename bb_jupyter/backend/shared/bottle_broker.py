"""A bottle's broker as its owner has it: started, heard, told what was put in force, ended; and found when it was left.

A bottle has one when it has repositories behind the git gate or is supervised.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bb_jupyter.agent.credentials import resolve_token
from bb_jupyter.backend import state
from bb_jupyter.backend.shared.owner_actions import BrokeredBottle, put_in_force, stage
from bb_jupyter.errors import BottleError
from bb_jupyter.process import deferred_interrupts, procfs
from bb_jupyter.process.waiting import wait_until

if TYPE_CHECKING:
    from bb_jupyter.backend.plan import BottlePlan
    from bb_jupyter.broker.broker_client import BrokerClient
    from bb_jupyter.broker.broker_config import BrokerConfig
    from bb_jupyter.gateway.control.gateway_client import Event

#: What `ls` says of a bottle whose broker died (its repositories and its human are out of reach), while a new one
#: starts.
NO_BROKER, RESTARTS = "no broker", "broker restarts"
#: Starts a bottle's broker: takes its configuration and what to call with each event.
StartBroker = Callable[["BrokerConfig", Callable[["Event"], None]], "BrokerClient"]
#: Seconds that a broker without an owner gets to end by itself.
_END = 8.0
#: How often a broker that died is started anew within some seconds, and the pause before each time.
_MOST_RESTARTS, _WINDOW, _PAUSES = 3, 600.0, (0.0, 2.0, 10.0)


def has_broker(plan: BottlePlan) -> bool:
    """Whether a bottle of *plan* has a broker."""
    return bool(services(plan))


def services(plan: BottlePlan) -> tuple[str, ...]:
    """Return the services that the broker of *plan* has."""
    planned = {"git-gate": bool(plan.git_gate_plan and plan.git_gate_plan.repos), "supervise": plan.supervise_plan}
    return tuple(name for name, service in planned.items() if service)


def control_socket(slug: str) -> Path:
    """Return where a broker that is kept listens for its next owner."""
    return state.state_dir() / slug / "broker"


class BottleBroker:
    """The broker of one running bottle.  Thread-safe.

    Args:
        plan: what was launched.
        start: starts the broker, as the backend does it.
        bottle: whose it is.

    Attributes:
        events: what to call with each event of the broker, on a thread of its own.  One that dies is started anew, with
            what waits there for the human: ``broker-died``, then ``broker-restarted`` or ``broker-given-up``.
    """

    def __init__(self, plan: BottlePlan, start: StartBroker, bottle: BrokeredBottle) -> None:
        self._plan, self._start, self._bottle = plan, start, bottle
        self._lock = threading.Lock()
        self._one_by_one = threading.Lock()
        self._client: BrokerClient | None = None
        self._serves = self._lost = False
        self._over = threading.Event()
        self._turn = 0
        self._restarts: deque[float] = deque(maxlen=_MOST_RESTARTS)
        self.events: list[Callable[[Event], None]] = []

    @property
    def state(self) -> str:
        """`none`, `open`, or `lost` when it died: then the git gate and the human are out of reach."""
        if not has_broker(self._plan):
            return "none"
        return "open" if self._client and self._client.alive else "lost"

    def begin(self) -> None:
        """Begin to start it, if the plan has one; `open` waits for it.

        Raises:
            BackendUnavailable: it cannot start.
            ManifestError: a credential is unset.
        """
        if has_broker(self._plan):
            self._begin()

    def _begin(self) -> int:
        with self._lock:
            if self._over.is_set():
                return self._turn
            self._turn += 1
            self._lost = False
            with deferred_interrupts.defer_sigint():
                self._client = self._start(self._config(), partial(self._on_event, self._turn))
            details: dict[str, Any] = {"broker_state": "", "broker": _process(self._client.pid)}
            if self._plan.spec.keep:
                details |= {
                    "git_gate": _plain(self._plan.git_gate_plan),
                    "supervise": _plain(self._plan.supervise_plan),
                }
            state.add_details(self._plan.slug, **details)
            return self._turn

    def open(self) -> None:
        """Wait until the bottle reaches it.

        Raises:
            BackendUnavailable: it did not start, or a program in the bottle holds one of its ports.
        """
        if self._client is not None:
            self._client.wait_serving(*services(self._plan))
            self._serves = True

    def adopt(self, *, reached: bool = True) -> None:
        """Take over a broker that outlived its owner, or start a new one.

        A bottle whose broker does not start any more, as when a credential is gone, is still worth having: `state`
        tells.

        Args:
            reached: the bottle reaches the one that may be there.
        """
        from bb_jupyter.broker.broker_client import BrokerClient

        if not has_broker(self._plan):
            return
        slug = self._plan.slug
        if reached:
            self._client = BrokerClient.connect(control_socket(slug), slug, partial(self._on_event, self._turn))
        if self._client is not None:
            with contextlib.suppress(BottleError):
                self._client.wait_ready()
                self._serves = True
                return
        try:
            self._start_anew()
            self.open()
        except BottleError:
            self.close()
            self._note(NO_BROKER)

    def _start_anew(self) -> int:
        """Begin to start one in place of a dead one; return its turn.

        Raises:
            BottleError: it cannot be started.
        """
        with self._lock:
            dead, self._client = self._client, None
        if dead is not None:
            dead.stop()
        for record in state.records():
            if record.slug == self._plan.slug:
                _kill(record)
        return self._begin()

    def _claim(self, turn: int) -> bool:
        """Return whether the caller, and nobody else, sees to the death of the broker that was started in a turn."""
        with self._lock:
            mine = turn == self._turn and self._serves and not self._over.is_set()
            self._turn += mine
        return mine

    def _restart(self) -> None:
        """Start a new one, on a thread of its own, unless too many have died lately."""
        while not self._over.wait(_PAUSES[len(self._restarts) % _MOST_RESTARTS]):
            now = time.monotonic()
            if len(self._restarts) == _MOST_RESTARTS and now - self._restarts[0] < _WINDOW:
                self._note(NO_BROKER)
                return self._announce("broker-given-up")
            self._restarts.append(now)
            self._note(RESTARTS)
            try:
                if not self._bottle.alive:
                    return self._note(NO_BROKER)
                turn = self._start_anew()
            except Exception:  # noqa: S112 - whatever it is: the next one starts, or nobody does and that is told
                continue
            try:
                self.open()
            except BottleError:
                if self._claim(turn):
                    continue
                return
            if not self._over.is_set():
                self._announce("broker-restarted")
            return

    def _note(self, text: str) -> None:
        """Write down what `ls` says of it."""
        self._lost = bool(text)
        with contextlib.suppress(OSError):
            state.add_details(self._plan.slug, broker_state=text)

    def _announce(self, kind: str) -> None:
        """Tell what no broker can tell."""
        from bb_jupyter.gateway.audit.audit_log import AuditLog

        event = {"event": kind, "time": round(time.time(), 3)}
        with contextlib.suppress(OSError), contextlib.closing(AuditLog(self._plan.slug)) as log:
            log.append([event])
        self._tell(event)

    def _tell(self, event: Event) -> None:
        for hear in [*self.events]:
            hear(event)

    def begin_close(self) -> None:
        """Tell it to end; does not wait.  Idempotent."""
        self._over.set()
        if self._client is not None:
            self._client.begin_stop()

    def close(self) -> None:
        """End it.  Idempotent."""
        self._over.set()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.stop()
        if self._lost:
            _clean_up(self._plan.slug, self._plan.spec.name)

    def release(self) -> None:
        """Let go of one that outlives this process.  Idempotent."""
        self._over.set()
        if self._client is not None:
            self._client.detach()

    def _config(self) -> BrokerConfig:
        from bb_jupyter.broker.broker_config import BrokerConfig

        plan = self._plan
        return BrokerConfig.from_plans(
            plan.git_gate_plan, plan.supervise_plan, plan.egress_plan,
            slug=plan.slug, name=plan.spec.name, keep=plan.spec.keep, resolve_token=resolve_token,
        )  # fmt: skip

    def _on_event(self, turn: int, event: Event) -> None:
        kind = event.get("event")
        if kind == "broker-died":
            self._note(NO_BROKER)
            if self._claim(turn):
                threading.Thread(target=self._restart, name="bottle-broker-restart", daemon=True).start()
        elif kind == "broker-stopped" and not event.get("failed"):
            self._serves = False  # somebody else has ended it, as one who stops the bottle does: let it be
        elif kind in ("apply", "stage") and (client := self._client) is not None:
            # Not on this thread: it takes the gateway's time, or the bottle's, and more events come meanwhile.
            threading.Thread(target=self._oblige, args=(client, event), name="bottle-broker-owner", daemon=True).start()
        self._tell(event)

    def _oblige(self, client: BrokerClient, event: Event) -> None:
        """Do what the broker asks for, and tell it."""
        number = int(event.get("id", 0))
        try:
            if event.get("event") == "stage":
                stage(self._bottle, -number, str(event.get("path", "")))
                return client.applied(number)
            with self._one_by_one:
                client.applied(number, generation=put_in_force(self._bottle, number))
        except BottleError as error:
            client.applied(number, error=error.message)
        except Exception as error:  # whatever it is, the agent must not wait for it
            client.applied(number, error=f"the kernel could not do it: {type(error).__name__}")


def _plain(plan: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any dataclass
    return None if plan is None else asdict(plan)


def _process(pid: int) -> dict[str, Any]:
    return {"pid": pid, "start_time": procfs.start_time(pid)}


def left(record: state.BottleRecord) -> int:
    """Return the pid of the broker that a bottle's record names, if it runs on this machine; else 0."""
    told = record.details.get("broker") or {}
    pid, start_time, here = told.get("pid"), told.get("start_time"), type(record.owner).current()
    same = (record.owner.boot_id, record.owner.pid_namespace) == (here.boot_id, here.pid_namespace)
    return pid if same and isinstance(pid, int) and start_time and procfs.start_time(pid) == start_time else 0


def _kill(record: state.BottleRecord, *, at_once: bool = True) -> None:
    """End the broker that a record names and all that it started.

    Args:
        record: the bottle's.
        at_once: it cannot take leave, so that what waits for the human waits on.
    """
    deadline = time.monotonic() + (0.0 if at_once else _END)

    def ended() -> bool:
        if pid := left(record):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL) if time.monotonic() >= deadline else os.kill(pid, signal.SIGTERM)
        return not pid

    wait_until(ended)


def end_left(record: state.BottleRecord) -> None:
    """End the broker that a record names and all that it started; remove what it left but held pushes.  Idempotent."""
    _kill(record, at_once=False)
    if record.details.get("broker"):
        _clean_up(record.slug, record.name)


def _clean_up(slug: str, name: str) -> None:
    """Do what a broker that died would have done at its end."""
    from bb_jupyter.approvals import Queue
    from bb_jupyter.broker.git_gate import remove_mirrors

    remove_mirrors(slug)
    Queue(slug, name).end()
