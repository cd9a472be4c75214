"""Values that nobody is to see: in text, in streams that break anywhere, in the spellings of other programs."""

from __future__ import annotations

import base64
import html
import json
import random
import shlex
from urllib.parse import quote, quote_plus

import pytest

from deploy.hostside.secrecy import HIDDEN, Mask, looks_secret, secrets_of

VALUE = "p ä+'/\"<&%\\ss"


def pieces(text: str, mask: Mask, cuts: random.Random) -> str:
    stream, data, shown = mask.stream(), text.encode(), b""
    while data:
        size = cuts.randint(1, 4)
        shown += stream.feed(data[:size])
        data = data[size:]
    return (shown + stream.end()).decode()


@pytest.mark.parametrize("seed", range(60))
def test_a_stream_that_breaks_anywhere_shows_what_the_whole_text_shows(seed: int) -> None:
    chance = random.Random(seed)
    secrets = ["".join(chance.choices("ab", k=chance.randint(4, 9))) for _ in range(chance.randint(1, 4))]
    text = "".join(chance.choices("abc\n", weights=[8, 8, 1, 1], k=300))
    mask = Mask(secrets)
    shown = mask.text(text)
    assert pieces(text, mask, chance) == shown
    for secret in secrets:
        assert secret not in shown.replace(HIDDEN, "|")
    assert shown != text or not any(secret in text for secret in secrets)


def test_of_values_that_overlap_or_begin_alike_nothing_is_left() -> None:
    mask = Mask(["secret", "secret-and-more", "more-of-it"])
    assert mask.text("a secret, secret-and-more, secret-and-more-of-it!") == "a ***, ***, ***!"


def test_what_is_no_secret_is_not_held_back() -> None:
    stream = Mask(["hunter22"]).stream()
    assert stream.feed(b"Applying 0001... ") == b"Applying 0001... "
    assert stream.feed(b"OK hun") == b"OK "
    assert stream.feed(b"gry\n") == b"hungry\n"


@pytest.mark.parametrize(
    "spelt",
    [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        quote(VALUE, safe="").lower().replace("p%20%c3%a4", "p%20%c3%a4"),
        json.dumps(VALUE),
        json.dumps({"a": VALUE}, ensure_ascii=False),
        repr({"a": VALUE}),
        repr(VALUE.encode()),
        shlex.quote(VALUE),
        html.escape(VALUE),
        VALUE.encode().hex(),
        *(base64.b64encode(b"x" * count + VALUE.encode() + b"y").decode() for count in range(4)),
        *(base64.urlsafe_b64encode(b"user:" * count + VALUE.encode()).decode() for count in range(4)),
    ],
)
def test_a_value_is_hidden_as_other_programs_spell_it(spelt: str) -> None:
    shown = Mask([VALUE]).text(f"<{spelt}>")
    assert HIDDEN in shown
    assert not any(part in shown for part in ("ss", "%C3", "%c3", "c3a4"))
    left = shown.replace(HIDDEN, "")
    assert len(left) <= 2 + 12 + len('{"a": }') + 5


def test_a_value_of_several_lines_is_hidden_as_a_whole_and_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIBVwIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    mask = Mask([key])
    assert mask.text(f"key: {key}.") == "key: ***."
    assert "MIIB" not in mask.text("   MIIBVwIBADANBgkq\r\n")
    assert mask.text(json.dumps(key)) == '"***"'


def test_short_words_and_those_that_mean_nothing_are_left() -> None:
    values = {"DEBUG": "false", "PORT": "8000", "A_KEY": "1", "B_KEY": "true", "C_KEY": "abcd", "NAME": "guestbook"}
    assert secrets_of(values, every=True) == {"abcd", "guestbook"}
    assert secrets_of(values, every=False) == {"abcd"}


def test_the_password_within_a_value_is_a_secret_of_its_own() -> None:
    values = {
        "A": "postgres://app:s3%2Fcret@db/app",
        "B": "host=db user=app password=hunter22 port=1",
        "C": "https://tok3n@h/",
    }
    found = secrets_of(values, every=False)
    assert found == {"s3%2Fcret", "s3/cret", "hunter22", "tok3n"}


@pytest.mark.parametrize(
    "name",
    ["PASSWORD", "DB_PASSWORD", "DBPASSWORD", "SECRET_KEY", "api_key_2", "Tokens", "SENTRY_DSN", "AWS-CREDENTIALS"],
)
def test_a_name_that_says_so_is_a_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["KEYBOARD", "MONKEY", "DJANGO_SETTINGS_MODULE", "TOKENIZER", "PATH", "LOCALE", "AUTHOR"]
)
def test_a_name_that_only_sounds_like_it_is_not(name: str) -> None:
    assert not looks_secret(name)
