"""Properties are judged by their result, not by the speed of the machine that runs them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", deadline=None, max_examples=40)
settings.load_profile("steady")
