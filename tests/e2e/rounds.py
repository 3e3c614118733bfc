"""How long the loops go on: a short slice in `make e2e`, PREWARM_ROUNDS rounds in `make soak`."""

from __future__ import annotations

import os
import sys

ROUNDS = int(os.environ.get("PREWARM_ROUNDS", "3"))


def tell(words: str) -> None:
    """A figure of a loop, which `make soak` shows."""
    sys.stdout.write(f"{words}\n")
