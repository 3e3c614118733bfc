"""The verbs `forecast` and `rank`, over a real lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prewarm.demand.calendars import Site
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.lake import Lake
from prewarm.pipeline.demand.forecast import RankResult, explain, forecast, rank, rank_day
from prewarm.pipeline.demand.histories import Counting, prior
from prewarm.tables import TABLES
from tests.demand.samples import after, pull, table

SITES = {"default": Site()}


def rhythm(tag: str, hour: int, per_day: int, days: int = 21, site: str = "default") -> pl.DataFrame:
    """`per_day` pulls of app:`tag` every day in the hour `hour` (UTC)."""
    return table(
        *(
            pull(after(day, hour, minute), tag, site=site)
            for day in range(days)
            for minute in np.linspace(0, 59, per_day)
        )
    )


def lake(folder: Path, *pulls: pl.DataFrame) -> Lake:
    """A lake with these pulls."""
    opened = Lake.open(folder / "lake")
    opened.append("pulls", pl.concat(pulls))
    return opened


def office(folder: Path) -> Lake:
    """Three weeks: `morning` is pulled at 08:00, `night` at 01:00, `rare` now and then."""
    return lake(folder, rhythm("morning", 8, 9), rhythm("night", 1, 7), rhythm("rare", 20, 1))


def order(result: RankResult) -> list[str]:
    """Tags of the first ranking, best first."""
    return [ranked.image.rpartition(":")[2] for ranked in result.ranking]


def test_rank_names_the_images_of_the_hour(tmp_path: Path) -> None:
    """At 08:00 the morning's image leads, at 01:00 the night's."""
    opened = office(tmp_path)
    assert order(rank(opened, SITES, [after(21, 8)]))[0] == "morning"
    assert order(rank(opened, SITES, [after(22, 1)]))[0] == "night"


def test_rank_document_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    """One time: its keys at the top level, ranks from 1, the model's real name."""
    document = rank(office(tmp_path), SITES, [after(21, 8)], top=2, site="default").document()
    assert {key: document[key] for key in ("at", "hours", "site", "model", "objective")} == {
        "at": after(21, 8),
        "hours": 1,
        "site": "default",
        "model": "auto",
        "objective": "pulls",
    }
    assert list(document["ranking"][0]) == [
        "rank",
        "image",
        "mean",
        "probability",
        "bytes",
        "score",
        "p_stale",
    ]
    assert [row["rank"] for row in document["ranking"]] == [1, 2]


def test_rank_of_several_times_answers_each(tmp_path: Path) -> None:
    """More than one time gives `answers`, in the order asked, each complete."""
    asked = [after(22, 1), after(21, 8)]
    document = rank(office(tmp_path), SITES, asked).document()
    assert [answer["at"] for answer in document["answers"]] == asked
    assert all(answer["ranking"] and answer["model"] == "auto" for answer in document["answers"])


def test_several_times_at_once_answer_as_one_by_one(tmp_path: Path) -> None:
    """A window's answer does not depend on what else was asked."""
    opened = office(tmp_path)
    asked = [after(20, 8), after(21, 8), after(21, 9), after(40)]
    together = rank(opened, SITES, asked)
    for moment, answer in zip(asked, together.answers, strict=True):
        alone = rank(opened, SITES, [moment]).ranking
        assert [one.image for one in answer.ranking] == [one.image for one in alone]
        assert np.allclose([one.mean for one in answer.ranking], [one.mean for one in alone], rtol=1e-5)


def test_rank_of_a_day_has_its_hours_on_the_sites_clock(tmp_path: Path) -> None:
    """A day in Mumbai begins at 18:30 UTC and has 24 hours, as known before it (08:59 was the last pull)."""
    sites = {"default": Site("default", "Asia/Kolkata")}
    result = rank_day(office(tmp_path), sites, date(2026, 2, 20))
    assert [answer.at for answer in result.answers] == [
        datetime(2026, 2, 19, 18, 30, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24)
    ]
    assert result.cutoffs == {"default": datetime(2026, 2, 19, 8, 30, tzinfo=UTC)}


def test_a_window_of_hours_adds_means_and_combines_chances(tmp_path: Path) -> None:
    """Three hours expect the sum of each, and miss all three with the product of the chances."""
    opened = office(tmp_path)
    hours = [rank(opened, SITES, [after(30, hour)]).ranking for hour in (7, 8, 9)]
    three = rank(opened, SITES, [after(30, 7)], hours=3).ranking[0]
    parts = [next(one for one in ranking if one.image == three.image) for ranking in hours]
    assert three.mean == pytest.approx(sum(part.mean for part in parts), rel=1e-4)
    none = np.prod([1 - part.probability for part in parts])
    assert three.probability == pytest.approx(1 - none, rel=1e-3)


def test_half_an_hour_of_two_hours_is_half_of_each(tmp_path: Path) -> None:
    """A window that begins between hours takes its share of both."""
    opened = office(tmp_path)
    seven, eight, between = (
        {one.image: one.mean for one in rank(opened, SITES, [moment]).ranking}
        for moment in (after(30, 7), after(30, 8), after(30, 7, 30))
    )
    for image, mean in between.items():
        assert mean == pytest.approx((seven[image] + eight[image]) / 2, rel=1e-4)


def test_all_sites_together_add_up(tmp_path: Path) -> None:
    """Without a site, means add over sites and the chance is that of either."""
    opened = lake(tmp_path, rhythm("morning", 8, 9), rhythm("morning", 8, 3, site="boise"))
    both = rank(opened, SITES, [after(21, 8)])
    each = [rank(opened, SITES, [after(21, 8)], site=name).ranking[0] for name in ("default", "boise")]
    assert both.site is None
    assert both.ranking[0].mean == pytest.approx(sum(one.mean for one in each), rel=1e-5)
    assert both.ranking[0].probability >= max(one.probability for one in each)


def test_nothing_after_the_time_changes_the_ranking(tmp_path: Path) -> None:
    """A million pulls after T, of known and of new images, leave the ranking of T as it was."""
    known = [rhythm("morning", 8, 9), rhythm("night", 1, 7)]
    later = rhythm("night", 9, 300, days=25).filter(pl.col("timestamp") >= after(14, 8))
    moment = [after(14, 8)]
    quiet = rank(lake(tmp_path / "a", *known), SITES, moment)
    loud = rank(lake(tmp_path / "b", *known, later, later.with_columns(tag=pl.lit("new"))), SITES, moment)
    assert quiet.answers == loud.answers


@pytest.mark.parametrize("hours", [8.0, 8.4, 20.5, 23.9])
def test_later_rows_move_no_cutoff(tmp_path: Path, hours: float) -> None:
    """With and without the rest of the log, and a site born later, the whole answer of T is the same."""
    rows = pl.concat([rhythm("morning", 8, 9), rhythm("night", 1, 7), rhythm("rare", 20, 1)])
    born = rhythm("new", 9, 5, days=25, site="new").filter(pl.col("timestamp") >= after(14, 24))
    moment = after(14, hours)
    then = lake(tmp_path / "then", rows.filter(pl.col("timestamp") < moment))
    now = lake(tmp_path / "now", rows, born)
    assert rank(now, SITES, [moment]).document() == rank(then, SITES, [moment]).document()
    assert forecast(now, SITES, moment).rows.equals(forecast(then, SITES, moment).rows)


def test_a_log_of_minutes_does_not_look_ahead(tmp_path: Path) -> None:
    """In a log's first hour the coming hour is ranked, from nothing that came after the time asked for."""
    early, late = table(pull(after(hours=8, minutes=10), "a")), table(pull(after(hours=8, minutes=50), "b"))
    moment = [after(hours=8, minutes=30)]
    then, now = lake(tmp_path / "then", early), lake(tmp_path / "now", early, late)
    assert rank(now, SITES, moment).document() == rank(then, SITES, moment).document()


def test_an_hour_that_was_logged_to_its_end_is_known(tmp_path: Path) -> None:
    """A log until 08:55 knows the hour of 08:00 at 09:00; one until 08:40 may not have been read whole."""
    for minute, known in ((55, 9), (40, 8)):
        opened = lake(tmp_path / str(minute), table(pull(after()), pull(after(hours=8, minutes=minute))))
        assert rank(opened, SITES, [after(hours=9)]).cutoffs == {"default": after(hours=known)}


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    """Pulls come in any order, from several logs."""
    rows = pl.concat([rhythm("morning", 8, 9), rhythm("night", 1, 7)])
    ordered = rank(lake(tmp_path / "a", rows), SITES, [after(21, 8)])
    shuffled = rank(
        lake(tmp_path / "b", rows.sample(fraction=1, shuffle=True, seed=1)), SITES, [after(21, 8)]
    )
    assert ordered.answers == shuffled.answers


def test_bytes_come_from_the_catalogue_before_the_log(tmp_path: Path) -> None:
    """A manifest's size wins over logged bytes; an image that neither knows has none, with a warning."""
    opened = lake(
        tmp_path,
        rhythm("morning", 8, 9).with_columns(bytes=pl.lit(70, pl.Int64)),
        rhythm("night", 8, 7).with_columns(bytes=pl.lit(50, pl.Int64)),
        rhythm("rare", 8, 1),
    )
    listed = {"registry": "docker.io", "repository": "library/app", "tag": "morning", "bytes": 100}
    opened.append("images", pl.DataFrame([listed | {"checked_at": after()}]))
    result = rank(opened, SITES, [after(21, 8)], objective="bytes")
    sizes = {ranked.image.rpartition(":")[2]: ranked.bytes for ranked in result.ranking}
    assert sizes == {"morning": 100, "night": 50, "rare": None}
    assert result.ranking[0].score == pytest.approx(100 * result.ranking[0].mean)
    assert any("no known size" in warning for warning in result.warnings)


def test_checks_and_what_we_warmed_are_no_demand(tmp_path: Path) -> None:
    """A poller and our own nightly warming rank nothing; the result counts them, up to the cutoff."""
    polled = rhythm("polled", 8, 9).with_columns(kind=pl.lit("check"))
    ours = rhythm("warmed", 3, 1)
    opened = lake(tmp_path, rhythm("morning", 8, 2), polled, ours)
    opened.append("outcomes", nights(ours["timestamp"]))
    result = rank(opened, SITES, [after(21, 8)])
    assert order(result) == ["morning"]
    assert result.set_aside == {"check": 189, "warmed by us": 21}


def nights(starts: Sequence[datetime] | pl.Series) -> pl.DataFrame:
    """An outcome of the docker driver for app:warmed at each of these times."""
    outcome = {"driver": "docker", "image": "docker.io/library/app:warmed", "state": "warmed"}
    times = [{"started_at": start, "finished_at": start + timedelta(seconds=9)} for start in starts]
    return pl.DataFrame([outcome | time for time in times])


def test_forecast_rows_cover_every_image_and_hour(tmp_path: Path) -> None:
    """Rows by image and hour, with interval and chance, from the hour that holds the time."""
    result = forecast(office(tmp_path), SITES, after(21, 8, 20), hours=6)
    rows = [dict(row) for row in result.document()["rows"]]
    assert result.cutoff == after(20, 20)
    assert len(rows) == 3 * 6
    assert list(rows[0]) == ["image", "time", "mean", "probability", "level", "lo", "hi"]
    assert rows[0]["time"] == after(21, 8)
    assert all(0 <= row["lo"] <= row["hi"] and 0 <= row["probability"] <= 1 for row in rows)


def test_forecast_is_kept_in_the_lake_once(tmp_path: Path) -> None:
    """Asking twice for the same forecast keeps it once; a different one is added."""
    opened = office(tmp_path)
    for hours in (6, 6, 12):
        forecast(opened, SITES, after(21, 8), hours=hours, level=(80, 90))
    assert opened.read("forecasts").height == 2 * 3 * (6 + 12)


def test_a_forecast_that_is_not_to_be_stored_is_not(tmp_path: Path) -> None:
    """`store=False` leaves the lake alone."""
    opened = office(tmp_path)
    forecast(opened, SITES, after(21, 8), store=False)
    assert not opened.exists("forecasts")


def test_explain_tells_the_chain_to_the_mean(tmp_path: Path) -> None:
    """The last link times the level is the profile's view; the views by weight give the mean as ranked."""
    opened = office(tmp_path)
    (told,) = explain(opened, SITES, "docker.io/library/app:morning", after(21, 8))
    ranked = rank(opened, SITES, [after(21, 8)]).ranking[0]
    chain = ["site", "repository", "image", "hour of day", "hour of week"]
    assert [link.step for link in told.links] == chain
    assert told.views[0].mean == pytest.approx(told.links[-1].value * told.ratio, rel=1e-3)
    assert sum(view.weight for view in told.views) == pytest.approx(1)
    averaged = sum(view.weight * view.mean for view in told.views) * told.factor
    assert told.mean == pytest.approx(averaged, rel=1e-3)
    assert told.mean == pytest.approx(ranked.mean, rel=1e-4)


def test_explain_tells_of_the_model_that_was_asked_for(tmp_path: Path) -> None:
    """By `profile` there is nothing but the chain, and its mean is that of its own ranking."""
    opened, moment = office(tmp_path), after(21, 8)
    (told,) = explain(opened, SITES, "docker.io/library/app:morning", moment, model="profile")
    assert (told.model, told.views, told.factor) == ("profile", (), 1.0)
    assert told.mean == pytest.approx(told.links[-1].value * told.ratio, rel=1e-3)
    assert told.mean == pytest.approx(
        rank(opened, SITES, [moment], model="profile").ranking[0].mean, rel=1e-4
    )


def test_a_site_without_a_clock_is_told_so(tmp_path: Path) -> None:
    """A site that nobody declared lives by UTC, and the result warns; a default clock is no warning."""
    opened = office(tmp_path)
    assert "default" in rank(opened, {}, [after(21, 8)]).warnings[0]
    assert not rank(opened, {}, [after(21, 8)], default=Site(timezone="Europe/Berlin")).warnings


def test_a_log_of_minutes_is_ranked_by_what_it_has(tmp_path: Path) -> None:
    """One pull ever is enough for an answer, when a later hour is asked for."""
    opened = lake(tmp_path, table(pull(after(hours=8, minutes=10), "only")))
    assert order(rank(opened, SITES, [after(1, 8)])) == ["only"]


def test_an_empty_lake_teaches(tmp_path: Path) -> None:
    """Nothing read, nothing to rank: the message says what to do."""
    with pytest.raises(NotEnoughHistory, match="prewarm ingest"):
        rank(Lake.open(tmp_path / "none"), SITES, [after()])
    assert not (tmp_path / "none").exists()


def test_a_time_before_the_log_is_refused(tmp_path: Path) -> None:
    """Before the first complete hour nothing is known."""
    with pytest.raises(NotEnoughHistory, match="no complete hour before 2026-02-02T00:30Z"):
        rank(office(tmp_path), SITES, [after(minutes=30)])


def test_only_checks_are_refused_with_what_was_set_aside(tmp_path: Path) -> None:
    """A lake of pollers has no demand, and says why."""
    opened = lake(tmp_path, rhythm("polled", 8, 2).with_columns(kind=pl.lit("check")))
    with pytest.raises(NotEnoughHistory, match="42 check"):
        rank(opened, SITES, [after(21, 8)])


def test_kinds_decide_what_counts(tmp_path: Path) -> None:
    """With checks counted, a poller is demand."""
    opened = lake(tmp_path, rhythm("polled", 8, 2).with_columns(kind=pl.lit("check")))
    result = rank(opened, SITES, [after(21, 8)], counting=Counting(kinds=("check",)))
    assert order(result) == ["polled"]


def test_an_unknown_site_names_the_known_ones(tmp_path: Path) -> None:
    """A typo in the site is answered with the sites of the lake."""
    with pytest.raises(UnknownName, match="no site called 'defualt'; did you mean 'default'"):
        rank(office(tmp_path), SITES, [after(21, 8)], site="defualt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hours": 0}, "hours 0"),
        ({"hours": 10_000}, "hours 10000"),
        ({"top": 0}, "top 0"),
        ({"at": []}, "no time"),
        ({"at": [datetime(2026, 3, 1)]}, "no time zone"),  # noqa: DTZ001
        ({"at": [datetime(2999, 1, 1, tzinfo=UTC)]}, "more than five years"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: dict[str, object], words: str) -> None:
    """Hours, numbers and times out of bounds are refused in one line."""
    with pytest.raises(SettingsError, match=words):
        rank(office(tmp_path), SITES, **({"at": [after(21, 8)]} | arguments))  # type: ignore[arg-type]


def test_an_unknown_objective_names_the_known_ones(tmp_path: Path) -> None:
    """A typo in the objective is answered with the nearest."""
    with pytest.raises(UnknownName, match="did you mean 'any-pull'"):
        rank(office(tmp_path), SITES, [after(21, 8)], objective="anypull")


def test_the_shipped_prior_is_read_and_written_alike() -> None:
    """The artefact survives a round trip, and its profile knows morning from night."""
    shipped = prior()
    assert type(shipped).parse(json.loads(json.dumps(shipped.document()))) == shipped
    assert shipped.workday[9] > shipped.workday[3]


def pushed(opened: Lake, at: datetime, tag: str) -> Lake:
    """The lake with one more push to the repository of `pull`."""
    row = {
        "timestamp": at,
        "site": "default",
        "registry": "docker.io",
        "repository": "library/app",
        "tag": tag,
    }
    opened.append("pushes", pl.DataFrame([row | {"digest": None}], schema=dict(TABLES["pushes"])))
    return opened


def test_a_tag_that_was_just_pushed_is_in_the_ranking_and_the_forecast(tmp_path: Path) -> None:
    """Nobody has pulled it yet, but its repository's tags are pulled, so it is expected to be."""
    opened = pushed(office(tmp_path), after(days=20, hours=23, minutes=50), "fresh")
    at = after(days=21)
    assert "fresh" in order(rank(opened, SITES, [at], hours=24))
    rows = forecast(opened, SITES, at, hours=2).rows
    assert (rows.filter(pl.col("image") == "docker.io/library/app:fresh")["mean"] > 0).all()


def test_a_push_after_the_time_is_not_known(tmp_path: Path) -> None:
    """The ranking of a time is the one that could have been made then."""
    opened = pushed(office(tmp_path), after(days=21, minutes=10), "fresh")
    assert "fresh" not in order(rank(opened, SITES, [after(days=21)], hours=24))


def test_explain_tells_of_a_tag_that_was_pushed_and_not_pulled_yet(tmp_path: Path) -> None:
    """From what earlier tags had to the mean as ranked; a day later nobody waits for it."""
    opened, image = pushed(office(tmp_path), after(20, 7), "new"), "docker.io/library/app:new"
    at = after(20, 9)

    (told,) = explain(opened, SITES, image, at)
    (ranked,) = (each for each in rank(opened, SITES, [at]).ranking if each.image == image)

    assert [link.step for link in told.links] == ["earlier tags", "waiting"]
    assert told.links[-1].value == told.mean == pytest.approx(ranked.mean)
    assert told.waited == 2
    with pytest.raises(UnknownName):
        explain(opened, SITES, "docker.io/library/app:never", at)


def test_explain_says_when_a_pushed_tag_is_waited_for_no_longer(tmp_path: Path) -> None:
    """Nobody pulled it within a day."""
    opened = pushed(office(tmp_path), after(18, 8), "lost")
    (told,) = explain(opened, SITES, "docker.io/library/app:lost", after(20, 8))
    assert told.mean == 0
    assert "nobody pulled it within 24 hours" in told.links[0].note


def moving(folder: Path) -> Lake:
    """Two tags that are pulled at nine: `latest` moves every night, `pinned` never does."""
    rows = [
        pull(after(day, 9), tag, digest=f"sha256:{tag}{day if tag == 'latest' else ''}")
        for day in range(21)
        for tag in ("latest", "pinned")
    ]
    return lake(folder, table(*rows))


def stale(result: RankResult) -> dict[str, float | None]:
    """`p_stale` by tag."""
    return {ranked.image.rpartition(":")[2]: ranked.p_stale for ranked in result.ranking}


def test_the_ranking_says_which_tag_has_moved(tmp_path: Path) -> None:
    """By the next morning the moving one has, and the pinned one has not."""
    told = stale(rank(moving(tmp_path), SITES, [after(21, 9)]))
    assert told["latest"] == pytest.approx(0.9, abs=0.1)
    assert told["pinned"] == pytest.approx(0.0, abs=0.02)


def test_a_digest_that_was_seen_after_the_time_changes_no_chance(tmp_path: Path) -> None:
    """Pulls, pushes and outcomes of later hours are in the lake, and nobody knew of them."""
    at = after(21, 8, 30)
    opened = moving(tmp_path)
    before = stale(rank(opened, SITES, [at]))

    opened.append("pulls", table(pull(after(21, 9), "pinned", digest="sha256:other")))
    pushed(opened, after(21, 8, 31), "pinned")
    done = {"image": "docker.io/library/app:latest", "digest": "sha256:x", "state": "warmed"}
    times = {"started_at": after(21, 8, 29), "finished_at": after(21, 8, 40)}
    opened.append("outcomes", pl.DataFrame([done | times]))

    assert stale(rank(opened, SITES, [at])) == before


def test_without_digests_no_chance_is_told(tmp_path: Path) -> None:
    """A log that shows none says nothing of tags."""
    assert set(stale(rank(office(tmp_path), SITES, [after(21, 8)])).values()) == {None}


def test_of_several_sites_the_stalest_cache_tells(tmp_path: Path) -> None:
    """The tag moved after one of them had it last."""
    one = [pull(after(day, 9), "a", digest=f"sha256:{day}", site="one") for day in range(21)]
    two = [pull(after(day, 9), "a", digest="sha256:0", site="two") for day in range(21)]
    opened = lake(tmp_path, table(*one, *two))
    each = [stale(rank(opened, {}, [after(21, 9)], site=site))["a"] for site in ("one", "two")]
    assert stale(rank(opened, {}, [after(21, 9)]))["a"] == each[0]
    assert each[0] > 0.8 > 0.1 > each[1]  # type: ignore[operator]
