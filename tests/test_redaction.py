from __future__ import annotations

import pytest
from sqlalchemy import make_url

from ranksearch.redaction import conceal, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("study.jsonl", "study.jsonl"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql+psycopg://me:pass-1@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("mysql://me:w%40rd?2@host/db?charset=utf8", "mysql://me:***@host/db?charset=utf8"),
        ("sqlite:///x.db?password=s3cret&cache=shared", "sqlite:///x.db?password=***&cache=shared"),
        (
            "postgresql://h/db?sslmode=require&sslPassword=abc",
            "postgresql://h/db?sslmode=require&sslPassword=***",
        ),
        ("postgresql://me:***@host/db", "postgresql://me:***@host/db"),
    ],
)
def test_passwords_are_hidden_and_nothing_else(url: str, shown: str) -> None:
    assert conceal(url) == shown
    assert conceal(shown) == shown
    assert redact(f"cannot reach {url} (refused)") == f"cannot reach {shown} (refused)"


def test_a_hidden_password_is_the_one_that_sqlalchemy_reads() -> None:
    for password in ("plain", "a:b/c?d#e", "p%40ss%2Fw"):
        url = f"postgresql://me:{password}@host/db"
        read = make_url(url)
        assert read.password
        assert read.host == "host"
        assert conceal(url) == "postgresql://me:***@host/db"
        assert redact(f"bad password {read.password!r}") == "bad password '***'"


def test_a_password_of_two_letters_does_not_garble_other_texts() -> None:
    assert conceal("postgresql://me:on@host/db") == "postgresql://me:***@host/db"
    assert redact("on and on: postgresql://me:on@host/db") == "on and on: postgresql://me:***@host/db"
