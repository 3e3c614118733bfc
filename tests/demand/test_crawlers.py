"""Clients that fetch everything."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from prewarm.demand.crawlers import crawling
from prewarm.demand.selection import image_column
from tests.demand.samples import after, pull, table


def people(clients: int = 8, days: int = 5) -> list[dict[str, Any]]:
    """Clients that each pull three images a morning out of sixty."""
    return [
        pull(after(day, 8, client), str((client * 7 + day + each) % 60), client=f"10.0.0.{client}")
        for day in range(days)
        for client in range(clients)
        for each in range(3)
    ]


def crawl(images: int, each: int = 1, **columns: Any) -> list[dict[str, Any]]:
    """One client that pulls so many images from 02:50 on, some of them in the next hour."""
    return [
        pull(after(2, 2, 50 + 15 * number / images), str(number), client="10.9.9.9", **columns)
        for number in range(images)
        for _ in range(each)
    ]


def told(*rows: dict[str, Any]) -> tuple[int, int]:
    """How many pulls of the crawler's address, and of others, are part of a crawl."""
    pulls = table(*rows).with_columns(image_column())
    found = pulls.filter(crawling(pulls))["client"]
    return int((found == "10.9.9.9").sum()), int((found != "10.9.9.9").sum())


@pytest.mark.parametrize("images", [60, 90, 500])
def test_a_client_that_fetches_everything_is_a_crawl(images: int) -> None:
    """All of it is, also what falls into the next hour; nothing of what others pull is."""
    assert told(*people(), *crawl(images)) == (images, 0)


def test_many_clients_behind_one_address_are_none() -> None:
    """They ask for the same images again and again."""
    assert told(*people(), *crawl(60, each=3)) == (0, 0)


def test_nodes_that_all_start_with_as_many_images_are_none() -> None:
    """A cluster that comes up is no crawl, for its nodes are alike."""
    nodes = [
        pull(after(0, 6, node), str(image), client=f"10.0.1.{node}")
        for node in range(5)
        for image in range(80)
    ]
    assert told(*nodes, *crawl(80)) == (0, 0)


def test_an_only_client_is_none() -> None:
    """A gateway in front of everybody: nothing tells what is usual."""
    assert told(*crawl(200)) == (0, 0)


def test_who_shares_the_address_of_a_crawler_is_told_apart_by_agent() -> None:
    """Only the crawler's own pulls are set aside."""
    other = pull(after(2, 2, 55), "7", client="10.9.9.9")
    pulls = table(*people(), *crawl(90, agent="mirror/1"), other).with_columns(image_column())
    assert pulls.filter(crawling(pulls))["agent"].unique().to_list() == ["mirror/1"]


def test_pulls_without_a_client_or_an_image_are_none() -> None:
    """What a source does not tell is not held against it."""
    rows = [{**row, "client": None} for row in crawl(100)]
    nameless = [{**row, "repository": None} for row in crawl(20)]
    pulls = table(*people(), *rows, *nameless).with_columns(image_column())
    assert not crawling(pulls).any()


def test_the_order_of_rows_does_not_matter() -> None:
    """Each row is told by what it says."""
    pulls = table(*people(), *crawl(70)).with_columns(image_column()).with_row_index()
    mixed = pulls.sample(fraction=1, shuffle=True, seed=1)
    assert set(mixed.filter(crawling(mixed))["index"]) == set(pulls.filter(crawling(pulls))["index"])


def test_nothing_in_nothing_out() -> None:
    """No pulls, no crawl."""
    assert crawling(table().with_columns(pl.lit(None, pl.String).alias("image"))).is_empty()
