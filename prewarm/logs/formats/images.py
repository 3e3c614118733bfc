"""What an image is called: reference strings as columns of registry, repository, tag and digest."""

from __future__ import annotations

import polars as pl

from prewarm.errors import InvalidReference
from prewarm.references import Reference

PARTS = ("registry", "repository", "tag", "digest")


def resolve(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` (with `image`) plus PARTS, all null where that is no reference; each one is parsed once."""
    images = rows["image"].drop_nulls().unique()
    parsed = [_parse(image) for image in images]
    parts = {part: [getattr(image, part) if image else None for image in parsed] for part in PARTS}
    table = pl.DataFrame({"image": images} | parts, schema=dict.fromkeys(("image", *PARTS), pl.String))
    return rows.join(table, on="image", how="left", maintain_order="left")


def _parse(image: str) -> Reference | None:
    try:
        return Reference.parse(image)
    except InvalidReference:
        return None
