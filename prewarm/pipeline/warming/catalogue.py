"""The image catalogue: sizes and layers as manifests tell them, for forecasts and reports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.lake import Change
from prewarm.tables import IMAGES
from prewarm.warming.images import Image

if TYPE_CHECKING:
    from prewarm.lake import Lake, Snapshot
    from prewarm.references import Reference

KEY = ("registry", "repository", "tag", "digest")


def record_images(lake: Lake, images: Iterable[Image], now: datetime) -> None:
    """Add the images that the catalogue does not have yet; their layers must be known."""
    rows = [_row(image, now) for image in images if image.blobs]
    if not rows:
        return
    found = pl.DataFrame(rows, schema=dict(IMAGES))

    def decide(seen: Snapshot) -> Change | None:
        known = seen.scan().select(KEY).collect()
        new = found.join(known, on=KEY, how="anti", nulls_equal=True)
        return None if new.is_empty() else Change(new)

    lake.commit("images", decide)


def _row(image: Image, now: datetime) -> dict[str, Any]:
    reference = image.reference
    platforms = [manifest.descriptor.platform for manifest in image.manifests]
    return {
        "registry": reference.registry,
        "repository": reference.repository,
        "tag": reference.tag,
        "digest": image.digest,
        "media_type": image.root.descriptor.media_type,
        "platform": ",".join(str(platform) for platform in platforms if platform) or None,
        "bytes": image.bytes,
        "layers": [{"digest": blob.digest, "bytes": blob.size} for blob in image.blobs],
        "checked_at": now,
    }


def portrait(lake: Lake, image: Reference) -> dict[str, Any] | None:
    """What the catalogue says of an image, as it was seen last; None where nobody has asked for it yet."""
    named = pl.col("tag") == image.tag if image.tag else pl.col("digest") == image.digest
    where = (pl.col("registry") == image.registry, pl.col("repository") == image.repository, named)
    rows = lake.read("images", *where).sort("checked_at").tail(1).to_dicts()
    kept = ("digest", "media_type", "platform", "bytes", "layers", "checked_at")
    return {name: rows[0][name] for name in kept} if rows else None
