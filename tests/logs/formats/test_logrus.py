"""Lines of logrus say the same read by their layout and each by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prewarm.logs.formats import logrus

GOLDENS = Path(__file__).parents[2] / "goldens"
DIGEST = "sha256:" + "a" * 64
FIELDS = {
    "go.version": "go1.27.3",
    "http.request.host": "mirror:5000",
    "http.request.id": "01a20b4b-fa6a",
    "http.request.method": "GET",
    "http.request.remoteaddr": "10.0.0.7:41822",
    "http.request.uri": "/v2/team/app/manifests/1.2?ns=ghcr.io",
    "http.request.useragent": "docker/27.3 os/linux (x; \\y)",
    "http.response.contenttype": "application/json",
    "http.response.duration": "9.16296ms",
    "http.response.status": 200,
    "http.response.written": 517,
}
HEAD = {"time": "2026-11-24T08:15:02.311204999Z", "level": "info", "msg": "response completed"}
TAIL = {"instance.id": "f177-7f41", "vars.name": "team/app", "version": "v3.1.1"}


def quoted(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9\-._/@^+]+", text) else json.dumps(text, ensure_ascii=False)


def as_text(fields: dict[str, object]) -> str:
    return " ".join(f"{key}={quoted(value)}" for key, value in fields.items())


def as_json(fields: dict[str, object]) -> str:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


TEXT, JSON = as_text(HEAD | FIELDS | TAIL), as_json(HEAD | FIELDS | TAIL)
WAYS = {
    TEXT: (logrus.text_alike, logrus.text_alone, logrus.from_text),
    JSON: (logrus.json_alike, logrus.json_alone, logrus.from_json),
}


def assert_same(line: str, *others: str) -> int:
    """How many lines are read by their layout; they and all others must say what each alone says.

    `line`, which is repeated between the `others`, tells which formatter they are of.
    """
    alike, alone, both = WAYS[line]
    lines = pl.Series([line] * 40 + [each for other in others for each in (other, line)], dtype=pl.String)
    expected, found = alone(lines), alike(lines)
    columns = [name for name in found.columns if name in expected.columns]
    rows = expected.with_row_index("row").join(found.select("row"), on="row").sort("row")
    assert_frame_equal(found.sort("row").select(columns), rows.select(columns))
    untold = rows.drop("row", *columns)
    assert all(column.is_null().all() for column in untold)
    assert_frame_equal(both(lines), expected)
    return found.height


@pytest.mark.parametrize("line", WAYS)
def test_ordinary_lines_are_read_by_their_layout(line: str) -> None:
    assert assert_same(line, line, line) == 44


@pytest.mark.parametrize("render", [as_text, as_json])
def test_each_layout_of_a_log_is_found(render: Callable[[dict[str, object]], str]) -> None:
    authorized = {key: value for key, value in FIELDS.items() if "response" not in key}
    unchanged = {key: value for key, value in FIELDS.items() if "contenttype" not in key}
    kinds = [
        HEAD | authorized | TAIL,
        HEAD | {"msg": "authorized request", "auth.user.name": "ci bot"} | authorized,
        HEAD | unchanged | TAIL,
        HEAD | FIELDS | {"http.response.duration": "974.405µs"} | TAIL,
        HEAD | {"err.message": "unknown tag=1"} | FIELDS | {"vars.reference": "1.2"},
    ]
    others = [render(kind) for kind in kinds for _ in range(4)]
    assert assert_same(render(HEAD | FIELDS | TAIL), *others) == 40 + 2 * len(others)


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (TEXT, TEXT.replace("517 ", '517 auth.user.name="x" ')),
        (TEXT, TEXT.replace("docker/27.3", '\\"docker\\" http.request.method=PUT')),
        (TEXT, TEXT.replace("GET", "GET http.request.method=PUT")),
        (TEXT, TEXT.replace("GET", '"GET')),
        (TEXT, TEXT.replace("fa6a", "fa6a msg=x")),
        (TEXT, TEXT.replace("=01a2", '="01a2 ')),
        (TEXT, TEXT.replace("info", 'info http.request.id="x y"')),
        (TEXT, TEXT.replace("9.16296ms", '""9.16ms""')),
        (JSON, JSON.replace('"GET"', '"GET","http.request.method":"PUT"')),
        (JSON, JSON.replace('"GET"', "[1]")),
        (JSON, JSON.replace('"GET"', "NaN")),
        (JSON, JSON.replace("517", "0517")),
        (JSON, JSON.replace("517", "5.170")),
        (JSON, JSON.replace("200", "9" * 40)),
        (JSON, JSON.replace("41822", '41822\\"')),
        (JSON, JSON.replace("fa6a", "fa\x016a")),
        (JSON, JSON.replace("team/app", "\\ud800")),
        (JSON, JSON + "}"),
        (JSON, JSON[:-1]),
    ],
)
def test_a_line_in_doubt_is_read_by_itself(line: str, other: str) -> None:
    assert assert_same(line, other) == 41


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (line, f"distribution-{release}-{name}")
        for release in ("2.8", "3.1")
        for line, name in ((TEXT, "text"), (JSON, "json"), (JSON, "logstash"))
    ],
)
def test_captured_logs_say_the_same_either_way(line: str, name: str) -> None:
    assert_same(line, *(GOLDENS / f"{name}.log").read_text().splitlines())


_VALUE = st.lists(
    st.sampled_from(
        [
            *' "\\=,:{}[]é\x07\u2028',
            *("a", "-", "0", "517", "1e3", "µs", "\\u0041", '\\"', '","', '":', " http.re", " level="),
            *(" http.request.method=PUT", ' http.request.id="x', " msg=y", "auth.user.name=eve", DIGEST),
            *('"http.request.method":"PUT"', "null", "true", "NaN", "sponse.status=", 'time="'),
        ]
    ),
    max_size=4,
).map("".join)


@pytest.mark.parametrize("render", [as_text, as_json])
def test_lines_that_have_no_text_in_common_are_read_by_their_layout(
    render: Callable[[dict[str, object]], str],
) -> None:
    lines = pl.Series(
        [render({key: f"{value}{n}" for key, value in (HEAD | FIELDS).items()}) for n in range(9)]
    )
    alike, alone, _ = WAYS[TEXT if render is as_text else JSON]
    found = alike(lines)
    assert found["row"].to_list() == list(range(9))
    assert_frame_equal(found.select("uri", "key", "message"), alone(lines).select("uri", "key", "message"))


def test_messages_about_no_request_hide_no_layout() -> None:
    startup = as_text(HEAD | {"msg": "listening on [::]:5000", "go.version": "go1.27.3"})
    strange = as_text({"time": "x", "http.request.host": "y"})
    lines = pl.Series([startup] * 100 + [strange] + [TEXT] * 100)
    assert logrus.text_alike(lines)["row"].to_list() == list(range(101, 201))


@pytest.mark.parametrize(
    ("line", "field"), [(TEXT, " http.request.x{}=y"), (JSON, ',"x{}":"y"')], ids=["text", "json"]
)
@pytest.mark.parametrize("first", [False, True])
def test_a_line_of_many_fields_is_read_to_its_end(line: str, field: str, first: bool) -> None:
    """Also where no line before it has as many."""
    alike, alone, both = WAYS[line]
    end = ' auth.user.name="late"' if line is TEXT else ',"auth.user.name":"late"}'
    many = line.removesuffix("}") + "".join(field.format(n) for n in range(300)) + end
    lines = pl.Series([many, *[line] * 400] if first else [*[line] * 400, many])
    assert_frame_equal(both(lines), alone(lines))
    assert both(lines)["user"].drop_nulls().to_list() == ["late"]
    assert alike(lines).height == 400


@given(st.lists(st.dictionaries(st.sampled_from([*HEAD, *FIELDS, *TAIL, "err.detail"]), _VALUE), max_size=4))
@pytest.mark.parametrize(("line", "render"), [(TEXT, as_text), (JSON, as_json)])
def test_whatever_a_field_holds_means_the_same_either_way(
    line: str, render: Callable[[dict[str, object]], str], changes: list[dict[str, str]]
) -> None:
    assert_same(line, *(render(HEAD | FIELDS | TAIL | change) for change in changes))


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 12), _VALUE), max_size=4))
@pytest.mark.parametrize("line", WAYS)
def test_whatever_becomes_of_a_line_it_means_the_same_either_way(
    line: str, changes: list[tuple[int, int, str]]
) -> None:
    others = [line[:place] + put + line[place + cut :] for place, cut, put in changes]
    assert_same(line, *(other for other in others if line is TEXT or other.startswith("{")))


@given(st.lists(st.lists(st.sampled_from([*TEXT.split(" "), *JSON.split(","), "", "x"])), max_size=4))
@pytest.mark.parametrize(("line", "between"), [(TEXT, " "), (JSON, ",")])
def test_missing_repeated_and_shuffled_fields_mean_the_same_either_way(
    line: str, between: str, others: list[list[str]]
) -> None:
    assert_same(line, *(between.join(other) for other in others))
