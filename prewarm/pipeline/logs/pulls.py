"""`pulls`: export what was pulled."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import polars as pl

from prewarm.errors import InvalidReference, UnknownName
from prewarm.lake import Lake
from prewarm.logs.pulls import image_of
from prewarm.references import Reference

KINDS = ("check", "manifest", "layers", "local")
USES = "local"
COLUMNS = (
    "timestamp",
    "site",
    "client",
    "registry",
    "repository",
    "tag",
    "digest",
    "kind",
    "status",
    "blobs",
    "image",
    "source",
    "user",
    "agent",
    "bytes",
    "seconds",
    "cache",
    "provisional",
)


def export(
    lake: Lake,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    site: str | None = None,
    image: str | None = None,
    kind: str | None = None,
    declared: Collection[str] = (),
) -> pl.DataFrame:
    """Pulls of `since <= timestamp < until` (aware), in the order of time; columns COLUMNS.

    `image` is any reference: with a tag or digest that image, without one every image of the
    repository. Uses of images that were already there (`kind` local) come only when asked for.
    Raises InvalidReference for an `image` that is none, UnknownName for a `site` that has no pull and is not
    `declared`, LakeError when the lake cannot be read.
    """
    if site is not None and site not in declared:
        _check_site(lake, site)
    where = [pl.col("kind") == kind if kind else (pl.col("kind") != USES).fill_null(True)]
    if since is not None:
        where += [pl.col("date") >= since.date() - timedelta(days=1), pl.col("timestamp") >= since]
    if until is not None:
        where += [pl.col("date") <= until.date() + timedelta(days=1), pl.col("timestamp") < until]
    if site is not None:
        where.append(pl.col("site") == site)
    if image is not None:
        where.append(is_image(image))
    rows = lake.read("pulls", *where)
    return rows.with_columns(image_of()).select(COLUMNS).sort("timestamp", "site", "image", "client")


def _check_site(lake: Lake, site: str) -> None:
    known = lake.scan("pulls").select(pl.col("site").unique()).collect()["site"].drop_nulls().to_list()
    if site not in known:
        raise UnknownName("site", site, known)


def is_image(text: str) -> pl.Expr:
    """Whether a pull is of this image, or of any image of this repository where no tag or digest is named."""
    reference = Reference.parse(text)
    same = (pl.col("registry") == reference.registry) & (pl.col("repository") == reference.repository)
    if reference.digest is not None:
        return same & (pl.col("digest") == reference.digest)
    return same & (pl.col("tag") == reference.tag) if _names_tag(text) else same


def _names_tag(text: str) -> bool:
    """Whether `latest` was said, not merely assumed."""
    try:
        Reference.parse(f"{text}:x")
    except InvalidReference:
        return True
    return False
