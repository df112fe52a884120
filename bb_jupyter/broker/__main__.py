"""``python -m bb_jupyter.broker``: the broker of one bottle."""

from __future__ import annotations

import os

from bb_jupyter.broker.broker_process import main

if __name__ == "__main__":
    os._exit(main())  # what was loaded is not taken apart: whoever stops a bottle waits for this
