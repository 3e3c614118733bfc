"""What networks, registries and kills do to a run: a clear outcome, and nothing falsely called warm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from prewarm.lake import Lake
from tests.e2e import images
from tests.e2e.commands import Done, Prewarm, with_history
from tests.e2e.images import Pushed
from tests.e2e.proxies import Fault, Proxy
from tests.e2e.servers import Distribution, free_port, skopeo, tmpfs, wait_until
from tests.e2e.tokens import TokenServer
from tests.logs_of_a_day import access_log

GOOD, BAD = "docker.io/acme/good:1", "docker.io/acme/bad:1"
MORE_THAN_SOCKETS_BUFFER = 40_000_000
"""Bytes that cannot all be under way between two processes when one of them is killed."""


class Bench:
    """A layout cache that is filled through a proxy from an origin with a good and a bad image."""

    def __init__(self, origin: Distribution, folder: Path, stack: ExitStack) -> None:
        self.origin = origin
        self.good = images.push_image(origin.url, "acme/good", "1", [200_000])
        self.bad = images.push_image(origin.url, "acme/bad", "1", [2_000_000, 300_000])
        self.proxy = stack.enter_context(Proxy(origin.address))
        self.layout = folder / "oci"
        settings = (
            f'[registries."docker.io"]\nurl = "{self.proxy.url}"\n'
            f'[caches.edge]\ndriver = "layout"\npath = "{self.layout}"\n'
        )
        self.prewarm = with_history(folder / "p", settings, GOOD, BAD)

    def run(self, *faults: Fault, top: int = 2) -> Done:
        self.proxy.faults = list(faults)
        return self.prewarm("run", "--cache", "edge", "--top", str(top))

    def holds(self, image: str) -> bool:
        """Whether the folder really has every byte of it, by skopeo's own check."""
        copy = self.layout.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        try:
            skopeo("copy", f"oci:{self.layout}:{image}", f"dir:{copy}")
        except AssertionError:
            return False
        return True


@pytest.fixture
def bench(origin: Distribution, folder: Path, stack: ExitStack) -> Bench:
    """The bench, with nothing warmed yet."""
    return Bench(origin, folder, stack)


def big_layer(image: Pushed) -> str:
    """The digest of its first layer."""
    return image.blobs[1]


def only_the_good_one(done: Done, bench: Bench) -> None:
    """The good image is warm, the bad one failed and is not there; some failed is exit 3."""
    assert done.states() == {GOOD: "warmed", BAD: "failed"}
    assert done.code == 3
    assert bench.holds(GOOD)
    assert not bench.holds(BAD)


def test_a_wrong_digest_is_refused(bench: Bench) -> None:
    """A layer that rotted on the origin's disk is no image, and the error says digest."""
    blob = bench.origin.blob_file(big_layer(bench.bad))
    blob.write_bytes(b"\0" * blob.stat().st_size)

    done = bench.run()

    only_the_good_one(done, bench)
    assert "digest" in done.errors()[BAD]


def test_a_truncated_blob_is_refused(bench: Bench) -> None:
    """A connection that always ends early leaves a failed outcome."""
    done = bench.run(Fault(f"GET .*{big_layer(bench.bad)}", times=None, cut_after=1000))

    only_the_good_one(done, bench)


def test_a_blob_cut_once_is_fetched_again(bench: Bench) -> None:
    """A connection that ends early once costs a retry, not the image."""
    cut = Fault(f"GET .*{big_layer(bench.bad)}", cut_after=1000)

    done = bench.run(cut)

    assert cut.struck == 1
    assert done.states() == {GOOD: "warmed", BAD: "warmed"}
    assert done.code == 0
    assert bench.holds(BAD)


def test_a_missing_blob_fails_its_image(bench: Bench) -> None:
    """A layer that the origin lost (404) fails this image only."""
    shutil.rmtree(bench.origin.blob_file(big_layer(bench.bad)).parent)

    only_the_good_one(bench.run(), bench)


def test_a_tag_that_is_gone_is_told(bench: Bench) -> None:
    """A manifest 404 is named in the outcome; the other image is warmed."""
    done = bench.run(Fault("/acme/bad/manifests/", times=None, status=404))

    outcome = next(outcome for outcome in done.json["outcomes"] if outcome["image"] == BAD)
    assert outcome["state"] == "failed"
    assert outcome["error"]
    assert done.states()[GOOD] == "warmed"
    assert done.code == 3
    assert not bench.holds(BAD)


def test_retry_after_is_obeyed(bench: Bench) -> None:
    """After a 429 the next request for that blob comes no earlier than the registry asked."""
    layer = big_layer(bench.bad)
    limit = Fault(f"GET .*{layer}", status=429, headers={"Retry-After": "2"})

    done = bench.run(limit)

    first, second = bench.proxy.times(f"GET .*{layer}")
    assert second - first >= 2
    assert done.states()[BAD] == "warmed"
    assert done.code == 0


def test_a_quota_that_stays_spent_fails_soon(bench: Bench) -> None:
    """A registry that asks for an hour is not waited for; the outcome says why."""
    spent = Fault("GET .*/acme/bad/blobs/", times=None, status=429, headers={"Retry-After": "3600"})

    done = bench.run(spent)

    only_the_good_one(done, bench)
    assert "429" in done.errors()[BAD] or "rate" in done.errors()[BAD].lower()


def test_a_500_is_tried_again(bench: Bench) -> None:
    """One server error costs a retry, not the image."""
    broken = Fault(f"GET .*{big_layer(bench.bad)}", status=500)

    done = bench.run(broken)

    assert broken.struck == 1
    assert done.states() == {GOOD: "warmed", BAD: "warmed"}
    assert done.code == 0


def test_a_registry_that_sends_a_byte_now_and_then_is_given_up(bench: Bench) -> None:
    """It would hold the run up for hours without ever being silent."""
    crawl = Fault(f"GET .*{big_layer(bench.bad)}", times=None, trickle=True)
    config = bench.prewarm.config
    config.write_text(config.read_text().replace("\n[caches", '\ntimeout = "2s"\n[caches'))

    done = bench.run(crawl)

    only_the_good_one(done, bench)
    assert "bytes a second" in done.errors()[BAD]


def test_a_redirect_that_leads_to_itself_ends(bench: Bench) -> None:
    """A few hops, and the image has failed."""
    layer = f"/v2/acme/bad/blobs/{big_layer(bench.bad)}"
    loop = Fault(f"GET {layer}", times=None, status=307, headers={"Location": layer})

    done = bench.run(loop)

    only_the_good_one(done, bench)
    assert "redirects" in done.errors()[BAD]


def test_an_origin_killed_in_mid_run_fails_what_it_was_sending(bench: Bench) -> None:
    """The image under way fails; once the origin is back, a run completes it."""
    moved = images.push_image(bench.origin.url, "acme/bad", "1", [MORE_THAN_SOCKETS_BUFFER], seed="moved")
    killed = Fault(f"GET .*{big_layer(moved)}", then=bench.origin.kill, then_after=500_000)

    done = bench.run(killed)

    assert done.states()[BAD] == "failed"
    assert done.code == 3
    assert not bench.holds(BAD)
    bench.origin.start()
    done = bench.run()
    assert set(done.states().values()) <= {"warmed", "already"}
    assert done.code == 0
    assert bench.holds(BAD)


def test_a_killed_run_leaves_nothing_half_warm_and_the_next_starts_at_once(bench: Bench) -> None:
    """SIGKILL in the middle of a layer: no half image, no lock left behind."""
    layer = big_layer(bench.bad)
    bench.proxy.faults = [Fault(f"GET .*{layer}", times=None, bytes_per_second=200_000)]
    running = bench.prewarm.start("run", "--cache", "edge", "--top", "2")
    try:
        wait_until(lambda: bool(bench.proxy.times(f"GET .*{layer}")), "a layer under way")
    finally:
        running.kill()
        running.wait()
    assert not bench.holds(BAD)

    done = bench.run()

    assert set(done.states().values()) <= {"warmed", "already"}
    assert done.code == 0
    assert bench.holds(GOOD)
    assert bench.holds(BAD)


def test_what_a_killed_run_had_on_its_way_has_an_outcome(bench: Bench) -> None:
    """The next run keeps it as cancelled, beside its own: an engine's pull for it would else be demand."""
    bench.proxy.faults = [Fault("GET .*/blobs/", times=None, bytes_per_second=50_000)]
    running = bench.prewarm.start("run", "--cache", "edge", "--top", "2")
    trail = bench.prewarm.lake / "caches" / "edge" / "run.ndjson"
    wait_until(lambda: trail.exists() and trail.read_text().count('"started"') == 2, "both are on their way")
    running.kill()
    running.wait()

    done = bench.run()

    kept = Lake(str(bench.prewarm.lake)).read("outcomes")
    killed = kept.filter(kept["run"] != done.json["id"])
    assert dict(killed.select("image", "state").iter_rows()) == {GOOD: "cancelled", BAD: "cancelled"}
    assert killed.filter(killed["finished_at"] < killed["started_at"]).is_empty()
    assert "killed" in killed["error"][0]
    assert not trail.exists()


def test_a_second_run_beside_the_first_is_refused(bench: Bench) -> None:
    """One run per cache at a time; the refusal is one line."""
    layer = big_layer(bench.bad)
    bench.proxy.faults = [Fault(f"GET .*{layer}", times=None, bytes_per_second=200_000)]
    running = bench.prewarm.start("run", "--cache", "edge", "--top", "2")
    try:
        wait_until(lambda: bool(bench.proxy.times(f"GET .*{layer}")), "a layer under way")
        done = bench.prewarm("run", "--cache", "edge", "--top", "2")
    finally:
        running.terminate()
        running.wait()

    assert done.code == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_mirror_that_is_down_warms_nothing(origin: Distribution, folder: Path) -> None:
    """The refusal names the mirror."""
    images.push_image(origin.url, "acme/good", "1")
    nobody = f"http://127.0.0.1:{free_port()}"
    settings = (
        f'[registries."docker.io"]\nurl = "{origin.url}"\n'
        f'[caches.edge]\ndriver = "mirror"\nurl = "{nobody}"\nupstream = "docker.io"\n'
    )
    prewarm = with_history(folder / "p", settings, GOOD)

    done = prewarm("run", "--cache", "edge", "--top", "1")

    assert done.code == 3
    assert done.states() == {GOOD: "failed"}
    assert nobody.removeprefix("http://") in done.errors()[GOOD]
    assert prewarm("plan", "--cache", "edge").code == 1


def test_a_mirror_whose_origin_rots_is_not_called_warm(
    origin: Distribution, mirror: Distribution, folder: Path
) -> None:
    """The mirror answers every HEAD with 200 and never stores the layer: failed, not warmed."""
    bad = images.push_image(origin.url, "acme/bad", "1", [2_000_000])
    blob = origin.blob_file(big_layer(bad))
    blob.write_bytes(b"\0" * blob.stat().st_size)
    settings = (
        f'[registries."docker.io"]\nurl = "{origin.url}"\n'
        f'[caches.edge]\ndriver = "mirror"\nurl = "{mirror.url}"\nupstream = "docker.io"\n'
        'fill_timeout = "6s"\n'
    )
    prewarm = with_history(folder / "p", settings, BAD)

    done = prewarm("run", "--cache", "edge", "--top", "1")

    assert done.states() == {BAD: "failed"}
    assert done.code == 3


def test_a_token_that_expires_in_mid_run_is_renewed(folder: Path, stack: ExitStack) -> None:
    """Tokens live for two seconds of a longer run; credentials come from docker's config.json."""
    tokens = stack.enter_context(TokenServer(folder / "tokens", seconds=2, user="tester", password="s3cret"))
    with Distribution(folder / "open") as unguarded:
        images.push_image(unguarded.url, "acme/private", "1", [4_000_000, 4_100_000, 4_200_000])
    origin = stack.enter_context(
        Distribution(folder / "guarded", storage=unguarded.storage, auth=tokens.registry_auth)
    )
    slow = Fault("GET .*/blobs/", times=None, bytes_per_second=3_000_000)
    proxy = stack.enter_context(Proxy(origin.address, slow))
    registry = "registry.test"
    image = f"{registry}/acme/private:1"
    settings = (
        f'[registries."{registry}"]\nurl = "{proxy.url}"\nmax_concurrency = 1\n'
        f'[registries."{tokens.address}"]\nurl = "{tokens.url}"\n'
        '[caches.edge]\ndriver = "layout"\npath = "./oci"\n'
    )
    prewarm = with_history(folder / "p", settings, image)
    prewarm.docker_config.write_text(json.dumps({"auths": {registry: {"auth": tokens.credentials}}}))

    done = prewarm("run", "--cache", "edge", "--top", "1")

    assert done.states() == {image: "warmed"}
    assert done.code == 0
    assert tokens.issued >= 2
    assert "s3cret" not in done.stderr + json.dumps(done.json)


def test_a_wrong_password_is_one_clear_failure(folder: Path, stack: ExitStack) -> None:
    """A refused login is an outcome that says so, without the password."""
    tokens = stack.enter_context(TokenServer(folder / "tokens", seconds=60, user="tester", password="right"))
    with Distribution(folder / "open") as unguarded:
        images.push_image(unguarded.url, "acme/private", "1")
    origin = stack.enter_context(
        Distribution(folder / "guarded", storage=unguarded.storage, auth=tokens.registry_auth)
    )
    image = f"{origin.address}/acme/private:1"
    settings = (
        f'[registries."{origin.address}"]\nurl = "{origin.url}"\n'
        f'[registries."{tokens.address}"]\nurl = "{tokens.url}"\n'
        '[caches.edge]\ndriver = "layout"\npath = "./oci"\n'
    )
    prewarm = with_history(folder / "p", settings, image)
    wrong = "dGVzdGVyOndyb25n"  # tester:wrong
    prewarm.docker_config.write_text(json.dumps({"auths": {origin.address: {"auth": wrong}}}))

    done = prewarm("run", "--cache", "edge", "--top", "1")

    said = done.stderr + json.dumps(done.json)
    assert done.code == 3
    assert done.states() == {image: "failed"}
    assert "401" in said or "credentials" in said
    assert wrong not in said


@pytest.mark.parametrize("left", [0, 400_000])
@pytest.mark.parametrize("before", [0, 60], ids=["new", "grown"])
def test_a_full_disk_ends_an_ingest_with_one_line(folder: Path, before: int, left: int) -> None:
    """It says what happened, nothing is half done; with room again the lake is what it would have been."""
    log, disk = folder / "x.log", folder / "disk"
    calm = Prewarm(folder / "calm")
    with tmpfs(disk, megabytes=8):
        prewarm = Prewarm(disk)
        for days in filter(None, (before, 120)):
            log.write_text(access_log(days))
            calm.ok("ingest", log)
            if days == before:
                prewarm.ok("ingest", log)
        known = prewarm.ok("pulls")
        with full(disk, left):
            done = prewarm("ingest", log)

        assert done.code == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "no space left on its disk" in done.stderr
        assert prewarm.ok("pulls") == known
        prewarm.ok("ingest", log)
        assert prewarm.ok("pulls") == calm.ok("pulls")


@contextmanager
def full(disk: Path, left: int) -> Iterator[None]:
    """A disk that has room for so many bytes only."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - left))
    yield
    filler.unlink()
