"""The three offices of the workload: their clocks, their people, their days off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Team:
    """People who work on the same things: how many, and the stack each of them starts."""

    people: int
    virtual: float  # share of them on a virtual desktop that is fresh every morning
    stack: tuple[str, ...]  # repository:tag


@dataclass(frozen=True, slots=True)
class Weekly:
    """A job that runs once a week on some fresh runners."""

    weekday: int  # Monday is 0
    hour: float  # of the site's clock
    runners: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Office:
    """One site: a mirror and the people, build runners and nodes behind it."""

    name: str
    timezone: str
    holidays: str  # calendar of public holidays, as in the `holidays` package
    closed: tuple[date, ...]
    network: str  # first two parts of its addresses
    teams: tuple[Team, ...]
    weekly: tuple[Weekly, ...]
    cluster: tuple[str, ...]  # what a new node pulls
    patience: int  # days after which it takes up a new nginx
    nodes: int  # nodes that are switched on every working morning
    scale_out: date  # a day on which many more come at once

    def days(self, start: datetime, days: int) -> list[date]:
        """The site's dates that [start, start + days) touches."""
        zone = ZoneInfo(self.timezone)
        first = start.astimezone(zone).date()
        last = (start + timedelta(days=days)).astimezone(zone).date()
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]

    def clock(self, day: date, hour: float) -> datetime:
        """UTC of this hour (8.5 is half past eight) on the site's wall clock."""
        wall = datetime.combine(day, datetime.min.time()) + timedelta(seconds=round(hour * 3600))
        return wall.replace(tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)


def working(office: Office, day: date) -> bool:
    """Monday to Friday, unless the office is closed."""
    return day.weekday() < 5 and day not in office.closed


# What people start to work on, and what a new node pulls. Names without a tag, and the tag `release`,
# stand for what the office has taken up by then (`habits.Day`).
WEB = ("acme/web:main", "acme/api:main", "library/postgres:16", "library/redis:7", "nginx")
CLOUD = ("acme/api:main", "library/postgres:16", "localstack/localstack:latest")
SCIENCE = ("jupyter/scipy-notebook:latest", "library/postgres:16", "minio/minio:latest")
PAYMENTS = ("acme/payments:main", "acme/api:main", "library/mysql:8.4", "library/rabbitmq:3.13-management")
MOBILE = ("acme/mobile-bff:main", "acme/api:main", "library/redis:7", "nginx")
SEARCH = ("acme/search:main", "library/elasticsearch:8.15.2")
QUALITY = ("acme/qa-suite:nightly", "acme/web:main", "selenium/standalone-chrome:latest")
DATA = ("acme/etl:main", "apache/spark:3.5.3", "library/postgres:16", "minio/minio:latest")
SUPPORT = ("acme/web:main", "acme/api:main", "library/postgres:16", "library/redis:7")

# Jobs of one weekday each.
REPORT = ("apache/superset:4.0.2", "library/python:3.12-slim", "library/postgres:16")
SHOWCASE = ("library/elasticsearch:8.15.2", "grafana/grafana:11.2.0", "prom/prometheus:v2.54.1")
LOAD_TEST = ("grafana/k6:0.54.0", "library/rabbitmq:3.13-management")
REFRESH = ("apache/spark:3.5.3", "minio/minio:latest")
QUALITY_GATE = ("library/sonarqube:10.7-community", "aquasec/trivy:latest")
INTEGRATION = ("apache/kafka:3.8.0", "library/elasticsearch:8.15.2", "library/eclipse-temurin:21")
REGRESSION = ("selenium/standalone-firefox:latest", "acme/qa-suite:nightly")
CLASS = ("jupyter/scipy-notebook:latest",)
RESTORE = ("library/mysql:8.4", "library/python:3.12", "hashicorp/terraform:1.9")

OFFICES = (
    Office(
        name="boise",
        timezone="America/Boise",
        holidays="US-ID",
        closed=(date(2026, 11, 11),),
        network="10.1",
        teams=(Team(8, 0.6, WEB), Team(5, 0.6, CLOUD), Team(3, 0.4, SCIENCE)),
        weekly=(
            Weekly(0, 8.5, 1, REPORT),
            Weekly(2, 9.0, 2, SHOWCASE),
            Weekly(3, 10.0, 6, LOAD_TEST),
            Weekly(4, 9.5, 2, REFRESH),
        ),
        cluster=("nginx", "acme/web:release", "acme/api:release", "fluent/fluent-bit:3.1"),
        patience=3,
        nodes=3,
        scale_out=date(2026, 11, 5),
    ),
    Office(
        name="berlin",
        timezone="Europe/Berlin",
        holidays="DE-BE",
        closed=(),
        network="10.2",
        teams=(Team(7, 0.5, PAYMENTS), Team(5, 0.6, MOBILE), Team(2, 0.5, SEARCH)),
        weekly=(
            Weekly(0, 8.0, 1, REPORT),
            Weekly(1, 9.0, 3, QUALITY_GATE),
            Weekly(3, 9.5, 4, INTEGRATION),
            Weekly(4, 10.5, 1, RESTORE),
        ),
        cluster=("nginx", "acme/payments:release", "acme/mobile-bff:release", "prom/node-exporter:v1.8.2"),
        patience=1,
        nodes=2,
        scale_out=date(2026, 10, 22),
    ),
    Office(
        name="mumbai",
        timezone="Asia/Kolkata",
        holidays="IN-MH",
        closed=(date(2026, 10, 20), date(2026, 11, 10)),
        network="10.3",
        teams=(Team(6, 0.8, QUALITY), Team(5, 0.6, DATA), Team(4, 0.8, SUPPORT)),
        weekly=(
            Weekly(0, 9.0, 8, REGRESSION),
            Weekly(2, 10.0, 10, CLASS),
            Weekly(3, 11.0, 1, REPORT),
            Weekly(4, 9.0, 2, RESTORE),
        ),
        cluster=("nginx", "acme/web:release", "acme/etl:main", "fluent/fluent-bit:3.1"),
        patience=1,
        nodes=2,
        scale_out=date(2026, 11, 12),
    ),
)
