"""Settings: precedence, units, and refusals that name the key and the nearest known one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from prewarm.errors import SettingsError, UnknownName
from prewarm.settings import DemandSection, load

EXAMPLE = """
lake = "./lake"
[sites.boise]
timezone = "America/Boise"
holidays = "US-ID"
[sources.mirror-log]
path = "/var/log/registry/*.log*"
site = "boise"
registry = "docker.io"
rewrite = {"dockerhub-proxy/" = "docker.io/", "ghcr-proxy/" = "ghcr.io/"}
[registries."docker.io"]
url = "https://registry-1.docker.io"
max_concurrency = 4
reserve = 0.3
[caches.office]
driver = "mirror"
url = "http://127.0.0.1:5001"
upstream = "docker.io"
rewrite = {"docker.io/" = "dockerhub-proxy/"}
site = "boise"
ttl = "168h"
max_bytes = "200GB"
bandwidth = "50MB/s"
always = ["docker.io/library/alpine:3"]
never = ["*/test-*"]
allow = ["docker.io/library/*", "docker.io/acme/*"]
min_clients = 2
[caches.edge]
driver = "layout"
path = "./oci"
[schedules.morning]
cache = "office"
days = "mon-fri"
ready_by = "07:30"
covers = "07:30-11:00"
top = 20
max_bytes = "40GB"
objective = "any-pull"
holdout = 0.1
[schedules.refresh]
cron = "*/15 * * * *"
verb = "refresh"
cache = "office"
[demand]
session_gap = "60s"
kinds = ["manifest", "layers"]
ignore = ["harbor-registry-client", "*Trivy*"]
[costs]
egress_per_gb = 0.09
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "prewarm.toml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(written(folder, text))
    return str(refused.value)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the machine's variables nor a prewarm.toml beside the tests are seen."""
    monkeypatch.chdir(tmp_path)
    for name in ("LAKE", "CONFIG", "TIMEZONE", "DEMAND__SESSION_GAP"):
        monkeypatch.delenv(f"PREWARM_{name}", raising=False)


def test_everything_has_a_default() -> None:
    """Without file, variables and flags there is a lake, and demand is what transfers."""
    settings = load()

    assert settings.lake == "./lake"
    assert settings.demand.session_gap == timedelta(seconds=60)
    assert settings.demand.kinds == ("manifest", "layers")


def test_the_documented_example_loads(tmp_path: Path) -> None:
    """Every key that others rely on is understood, with its units."""
    settings = load(written(tmp_path, EXAMPLE))

    office = settings.caches["office"]
    assert office.max_bytes == 200 * 10**9
    assert office.bandwidth == 50 * 10**6
    assert office.ttl == timedelta(hours=168)
    assert office.own == {"url": "http://127.0.0.1:5001"}
    assert settings.schedules["morning"].max_bytes == 40 * 10**9


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precedence: flag, variable, file, default."""
    config = written(tmp_path, 'lake = "from-file"\ntimezone = "Asia/Tokyo"\n[demand]\nsession_gap = "10s"')
    monkeypatch.setenv("PREWARM_LAKE", "from-variable")
    monkeypatch.setenv("PREWARM_DEMAND__SESSION_GAP", "90s")

    settings = load(config, lake="from-flag")

    assert settings.lake == "from-flag"
    assert settings.demand.session_gap == timedelta(seconds=90)
    assert settings.timezone == "Asia/Tokyo"
    assert load(config).lake == "from-variable"


def test_unknown_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PREWARM_ variable that names no setting stops nothing."""
    monkeypatch.setenv("PREWARM_TYPO", "1")
    monkeypatch.setenv("PREWARM_DEMAND__TYPO", "1")

    assert load().demand == DemandSection()


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        pytest.param('laek = "x"', "'laek'", "'lake'", id="top level"),
        pytest.param('[sites.boise]\ntimezon = "UTC"', "'sites.boise.timezon'", "'timezone'", id="site"),
        pytest.param(
            '[sources.a]\npath = "x"\nregisty = "x"', "'sources.a.registy'", "'registry'", id="source"
        ),
        pytest.param(
            '[caches.o]\ndriver = "layout"\npth = "x"', "'caches.o.pth'", "'path'", id="driver's own"
        ),
        pytest.param('[caches.o]\ndriver = "miror"', "'miror'", "'mirror'", id="driver"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(
    tmp_path: Path, text: str, key: str, near: str
) -> None:
    """A typo is refused in one line that names the key and what was meant."""
    message = refusal(tmp_path, text)

    assert key in message
    assert f"did you mean {near}?" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("lake = ", "no TOML", id="broken file"),
        pytest.param('[demand]\nsession_gap = "soon"', "examples: 60s", id="duration"),
        pytest.param(
            '[caches.o]\ndriver = "layout"\npath = "x"\nmax_bytes = "lots"', "examples: 40GB", id="size"
        ),
        pytest.param('[caches.o]\ndriver = "layout"', "caches.o.path", id="missing key of a driver"),
        pytest.param('[registries."x.io"]\nmax_concurrency = 2', "url", id="missing key"),
        pytest.param('[registries.x.io]\nurl = "https://x.io"', "needs quotes", id="host without quotes"),
    ],
)
def test_an_unusable_value_is_refused_with_an_example(tmp_path: Path, text: str, words: str) -> None:
    """A wrong value is refused in one line that says what was expected."""
    assert words in refusal(tmp_path, text)


def test_a_config_that_is_named_must_exist(tmp_path: Path) -> None:
    """--config names a file; the default may be missing."""
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "missing.toml")


def test_an_unknown_cache_lists_the_known_ones(tmp_path: Path) -> None:
    """Asking for a cache that nobody defined says which there are."""
    settings = load(written(tmp_path, EXAMPLE))

    with pytest.raises(UnknownName, match="did you mean 'office'"):
        settings.cache("ofice")


@pytest.mark.parametrize("driver", ["mirror", "docker"])
def test_a_login_in_a_url_is_refused_and_not_repeated(tmp_path: Path, driver: str) -> None:
    """Secrets do not belong into settings, nor into the refusal."""
    message = refusal(tmp_path, f'[caches.o]\ndriver = "{driver}"\nurl = "http://bob:hunter2@127.0.0.1:1"')

    assert "carries a login" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('[sites.a]\ntimezone = "Europe/Berln"', "did you mean 'Europe/Berlin'", id="zone"),
        pytest.param(
            '[sources.a]\npath = "x"\nregistry = "http://x/"', "docker.io, 127.0.0.1:5000", id="host"
        ),
        pytest.param(
            '[caches.o]\ndriver = "layout"\npath = "x"\nupstream = "https://x/"', "no registry", id="upstream"
        ),
        pytest.param('[registries."https://x/"]\nurl = "https://x"', "no registry", id="listed registry"),
    ],
)
def test_names_are_checked_before_anything_is_written(tmp_path: Path, text: str, words: str) -> None:
    """A zone or a registry that is none is refused when the settings are read."""
    assert words in refusal(tmp_path, text)


def test_a_time_without_a_zone_is_on_the_clock_of_its_site(tmp_path: Path) -> None:
    """Where no site is said, on that of the only declared one; among several nobody can tell."""
    boise = '[sites.boise]\ntimezone = "America/Boise"\n'
    one = load(written(tmp_path, boise))
    two = load(written(tmp_path, boise + '[sites.mumbai]\ntimezone = "Asia/Kolkata"\n'))

    assert [one.zone(site) for site in ("boise", None, "other")] == ["America/Boise", "America/Boise", "UTC"]
    assert [two.zone(site) for site in ("boise", None)] == ["America/Boise", "UTC"]


def test_a_registry_has_one_name(tmp_path: Path) -> None:
    """Images of docker.io belong to index.docker.io, whichever of the two the settings say."""
    text = '[registries."index.docker.io"]\nurl = "https://x"\n'
    text += '[caches.o]\ndriver = "mirror"\nurl = "http://127.0.0.1:1"\nupstream = "index.docker.io"\n'
    settings = load(written(tmp_path, text))

    assert [endpoint.registry for endpoint in settings.endpoints()] == ["docker.io"]
    assert settings.cache_spec("o").upstream == "docker.io"


def test_the_key_of_pseudonyms_is_never_shown(tmp_path: Path) -> None:
    """Neither by the settings nor by the source that carries it; a file's newline is not part of it."""
    (tmp_path / "clients.key").write_text("correct horse battery\n")
    settings = load(privacy={"key_file": str(tmp_path / "clients.key")})
    source = settings.source("log", ("x.log",))
    assert source.client_key == b"correct horse battery"
    assert "horse" not in f"{settings!r} {source!r}"
    given = load(privacy={"key": "correct horse battery"})
    assert given.source("log", ("x.log",)).client_key == source.client_key
    assert "horse" not in repr(given)
    assert load().source("log", ("x.log",)).client_key is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"key": "geheim"}, "less than 16 bytes"),
        ({"key_file": "/nonexistent/key"}, "cannot be read"),
        ({"key": "geheim" * 9, "key_file": "/nonexistent/key"}, "both set"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_unseen(given: dict[str, str], reason: str) -> None:
    """In one line that does not show it."""
    with pytest.raises(SettingsError, match=reason) as refused:
        load(privacy=given).source("log", ("x.log",))
    assert "geheim" not in str(refused.value)


def test_what_a_variable_says_is_not_laid_upon_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names where the value came from, also when the file has the same section."""
    path = written(tmp_path, '[demand]\nkinds = ["layers"]\n')
    monkeypatch.setenv("PREWARM_DEMAND__SESSION_GAP", "soon")
    with pytest.raises(SettingsError, match=r"^flags or PREWARM_ variables: demand\.session_gap: 'soon'"):
        load(path)


def test_a_section_that_lacks_a_key_is_the_files(tmp_path: Path) -> None:
    """What is missing stands nowhere; its section does."""
    assert refusal(tmp_path, '[registries."x.io"]\n').startswith("prewarm.toml: registries.x.io.url")


@pytest.mark.parametrize("value", ["s3cret", '{"tokens": "s3cret'])
def test_a_variable_that_is_no_json_is_one_line(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A whole section in a variable is JSON; what it is instead is not repeated."""
    monkeypatch.setenv("PREWARM_SERVICE", value)
    with pytest.raises(SettingsError, match="PREWARM_SERVICE is no JSON") as refused:
        load()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        '[registries."bob:s3cret@x.io"]\nurl = "https://x.io"\n',
        '[sources.a]\nregistry = "https://bob:s3cret@x.io"\n',
        '[caches.a]\ndriver = "mirror"\nurl = "https://x.io/?token=s3cret"\n',
        '[caches.a]\ndriver = "mirror"\nurl = "https://bob:s3cret@x.io"\n',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    """Wherever it stands."""
    assert "s3cret" not in refusal(tmp_path, text)
