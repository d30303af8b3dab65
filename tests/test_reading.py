"""Files of others: regular ones of a bounded size, as values that can be carried on; anything else is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ranksearch import reading
from ranksearch.errors import InputError, expected
from ranksearch.reading import parse_json, parse_table, parse_toml, read_bytes, read_text
from ranksearch.runs import load_options


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(OSError, match=r"more than 3\.8"):
        read_bytes(path, 4)
    with pytest.raises(OSError, match="Is a directory"):
        read_bytes(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="a pipe, a socket or a device"):
            read_bytes(other)


def test_text_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in ("ε", "\ufeffε"):
        path.write_text(content, encoding="utf-8")
        assert read_text(path) == "ε"
    for content, message in ((b"\xff", "not UTF-8"), (b"a\0", "bytes that are 0")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_text(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "lists or tables more than 32 deep"),
        ("[" * 40 + "]" * 40, "lists or tables more than 32 deep"),
        ('{"a":' * 40 + "1" + "}" * 40, "lists or tables more than 32 deep"),
        ("9" * 5000, "a whole number of more than 20 digits"),
        (f"[-{10**20}]", "a whole number of more than 20 digits"),
        ("1e400", "a number that is too large"),
        ("[NaN]", "NaN, which is no JSON number"),
        ('{"a": 1, "b": 2, "a": 1}', "the name 'a' twice"),
        ('["\\ud800"]', r"a text with the character U\+D800"),
        ('{"\\u0000": 1}', r"a text with the character U\+0000"),
        ("", "Expecting value"),
    ],
)
def test_json_that_cannot_be_carried_on(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_as_it_usually_is() -> None:
    assert parse_json(f'{{"a": [1, -2.5, null, true, "ε\\ud83d\\ude00"], "b": {2**64}}}') == {
        "a": [1, -2.5, None, True, "ε😀"],
        "b": 2**64,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 50_000, "more than 32 deep"),
        ("a = " + "[" * 40 + "]" * 40, "more than 32 deep"),
        ("a." * 30_000 + "b = 1", "names of too many parts"),
        (f"[{'a.' * 1200}b]\n" + "".join(f"c{k} = 1\n" for k in range(50_000)), "names of too many parts"),
        (("a." * 300 + "b = 1\n") * 1000, "names of too many parts"),
        ("seed = " + "9" * 5000, "a whole number of more than 20 digits"),
        ("seed = 0x" + "f" * 5000, "a whole number of more than 20 digits"),
        ("seed = 1979-05-27", "the date or time 1979-05-27, which needs quotes"),
        ("seed =", "Invalid value"),
        ('a = "\\u0000"', r"U\+0000"),
    ],
)
def test_toml_that_cannot_be_carried_on_is_told_at_once(tmp_path: Path, text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=message):
        parse_toml(text)
    assert time.process_time() - started < 5
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^--config: expected valid TOML, got .*{message}"):
        load_options({}, path)


def test_toml_as_it_usually_is() -> None:
    assert parse_toml('a.b = 0x10\nc = [inf, 1e3, "../../../x.y.z"]\n') == {
        "a": {"b": 16},
        "c": [float("inf"), 1e3, "../../../x.y.z"],
    }
    long = "".join(f'"layer{k}.0.conv.weight" = {k}.5\n' for k in range(20_000))
    assert len(parse_toml(long)) == 20_000


def test_tables() -> None:
    assert parse_table('a,b\n1,"x,\ny"\n\n', ("a", "b")) == [{"a": "1", "b": "x,\ny"}]
    assert parse_table(f"a\n{'1 ' * 100_000}\n", ("a",))[0]["a"].count("1") == 100_000
    for text, message in (
        ("", "the columns none"),
        ("a\n1\n", "the columns a"),
        ("a,b\n1\n", "a row 2 with 1 of 2 values"),
        ('a,b\n1,"2\n', "unexpected end of data"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_table(text, ("a", "b"))


def test_messages_stay_on_their_line() -> None:
    told = expected("a\nb", "c", "\x1b[31m\ud800" + "x" * 5000, "ε × \u202e")
    assert told.startswith("a\\nb: expected c, got \\x1b[31m\\ud800xxx")
    assert told.isprintable()
    assert told.endswith("xxx. ε × \\u202e")
    assert "x…x" in told
    assert len(told) < 2100
    told.encode()


def test_the_limits_are_those_of_files_of_ours() -> None:
    assert reading.OPTIONS_BYTES < reading.RECORD_BYTES
