"""Start a bottle; `bb_jupyter.backend.shared.container_engine` draws the order.

Requests that make something run in a thread of their own, one after the other: an interrupt ends the waiting, never the
request half-way, and the removal comes after it.  So nothing is left, whatever moment is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bb_jupyter.backend import state
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.shared.bottle_broker import has_broker
from bb_jupyter.backend.shared.container_engine import container, image, sidecar, transfer
from bb_jupyter.backend.shared.container_engine.bottle import ContainerBottle
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.serial_executor import SerialExecutor
from bb_jupyter.process import deferred_interrupts

Provision = Callable[[ContainerBottle], None]


@contextmanager
def launch(
    engine: Engine, plan: ContainerBottlePlan, provision: Provision, on_progress: OnProgress
) -> Iterator[ContainerBottle]:
    """Start the bottle of *plan*; leaving the context removes it, unless it is kept.

    Raises:
        UsageError: the image cannot be a bottle's.
        BackendUnavailable: the engine refuses, or an image cannot be pulled.
        BuildFailed: an image cannot be built.
    """
    # Written down because the bottle must not look gone when it is looked for on another engine.
    state.add_details(plan.slug, engine=engine.endpoint.url)
    image_id = image.obtain(engine, plan, on_progress)
    has_sidecar = plan.egress_plan is not None or has_broker(plan)
    sidecar_image = sidecar.obtain_image(engine, on_progress) if has_sidecar else ""
    with deferred_interrupts.UninterruptibleExitStack() as stack:
        steps = stack.enter_context(SerialExecutor())
        on_progress(Progress("start"))
        bottle = ContainerBottle(plan, engine)
        stack.callback(bottle.gateways.wait_removed)
        stack.callback(bottle.relay.wait_removed)
        stack.callback(bottle.broker.close)
        if plan.snapshot:
            stack.callback(lambda: steps.run(lambda: engine.remove_image(plan.snapshot)))
        stack.callback(lambda: steps.run(lambda: engine.remove(plan.container)))
        stack.callback(bottle.gateways.begin_removal)  # at the same time as the bottle's own
        stack.callback(bottle.relay.begin_removal)
        stack.callback(bottle.network.close)
        stack.callback(bottle.broker.begin_close)
        bottle.broker.begin()
        if plan.egress_plan is not None:
            bottle.gateways.prepare(sidecar_image)
        steps.run(lambda: container.create(engine, plan, image_id))
        for copy in plan.copies:
            on_progress(Progress("copy in", line=str(copy)))
            transfer.copy_in(engine, plan.container, plan.container_user, copy)
        steps.run(lambda: container.start(engine, plan))
        if plan.egress_plan is not None:
            stack.callback(bottle.discard_ca_command)
            bottle.start_ca_command(steps)
        bottle.gateways.hand_off()
        bottle.relay.serve()
        hosts_written = steps.begin(lambda: container.write_hosts(engine, plan.container))
        provision(bottle)
        hosts_written.result()
        bottle.discard_ca_command()
        if plan.spec.keep:
            stack.pop_all()
            steps.close()
            stack.callback(bottle.network.release)
            stack.callback(bottle.broker.release)
        yield bottle
