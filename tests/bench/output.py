"""Rows about output: 100 MB into a cell of a real kernel, against `%%bash` and `!docker exec`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from jupyter_client.manager import start_new_kernel

from tests.bench.measure import Row
from tests.leftovers import Engine

_SIZE = 100_000_000
_MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


class Cells:
    """A real kernel whose cells are run and timed."""

    def __init__(self) -> None:
        self.manager, self.client = start_new_kernel()
        self.run("%load_ext bb_jupyter")

    def run(self, code: str) -> tuple[float, str]:
        """Run a cell to its end; return seconds and the last text it printed."""
        last = ""

        def hear(message: dict[str, object]) -> None:
            nonlocal last
            if message["msg_type"] == "stream":
                last = message["content"]["text"]  # type: ignore[index]

        start = time.perf_counter()
        reply = self.client.execute_interactive(code, output_hook=hear, timeout=900)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"{code!r}: {reply['content']}")
        return time.perf_counter() - start, last

    def peak_memory(self) -> float:
        """Return the most memory that the kernel has had, in MB."""
        return int(self.run(_MEMORY)[1]) / 1024

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)


def into_a_cell(engine: Engine | None) -> Iterator[Row]:
    """100 MB of lines, seconds until the cell is done; the kernel's peak memory beside it."""
    cells = Cells()
    try:
        cells.run("%%bottle light --backend bubblewrap")
        # 100 MB through %%bash, which reads 100 bytes at a time, take more than an hour.
        yield _row(cells, "bubblewrap", "light", "%%bash\n{}", "%%bash", 1_000_000)
        yield _row(cells, "bubblewrap", "light", "!{}", "!", _SIZE)
        if engine is not None:
            cells.run(f"%%bottle box --backend docker --image {engine.base_image}")
            slug = cells.run("import bb_jupyter; print(bb_jupyter.get('box').plan.slug)")[1].strip()
            by_hand = f'!docker -H {engine.address} exec bb-{slug} sh -c "{{}}"'
            yield _row(cells, "docker", "box", by_hand, "!docker exec", _SIZE)
    finally:
        cells.close()


def _row(cells: Cells, backend: str, name: str, theirs: str, against: str, size: int) -> Row:
    script = f"yes 'a line of output as programs write it' | head -c {size}"
    row = Row(f"{backend}: {size // 1_000_000} MB into a cell", against, "< 1x, memory flat", unit="s")
    before = cells.peak_memory()
    for _ in range(3):
        row.ours.append(cells.run(f"%%bottle {name}\n{script}")[0])
    row.facts["kernel grew by MB"] = cells.peak_memory() - before
    row.theirs.append(cells.run(theirs.format(script))[0])
    row.facts["then by MB"] = cells.peak_memory() - before - row.facts["kernel grew by MB"]
    return row
