"""How the process is set up before any verb runs."""

from prewarm.__main__ import ALLOCATOR, allocator


def test_only_verbs_that_read_logs_keep_the_memory_that_they_give_back() -> None:
    assert allocator(["--lake", "./lake", "ingest", "access.log"]).startswith(f"{ALLOCATOR},")
    assert allocator(["assess", "access.log"]) == allocator(["ingest", "access.log"])
    assert allocator(["run", "--cache", "office"]) == ALLOCATOR
    assert allocator([]) == ALLOCATOR
