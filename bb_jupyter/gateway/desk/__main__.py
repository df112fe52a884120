"""``python -m bb_jupyter.gateway.desk``: the desk of one bottle."""

from __future__ import annotations

import os

from bb_jupyter.gateway.desk.process import main

if __name__ == "__main__":
    os._exit(main())  # what was loaded is not taken apart: whoever stops a bottle waits for this
