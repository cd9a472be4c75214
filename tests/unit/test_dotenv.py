"""`.env` as it is read on the hosts."""

from __future__ import annotations

import pytest

from deploy.hostside.dotenv import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("  export A = b c  ", "b c"),
        ("A=", ""),
        ("A=b # said", "b"),
        ("A=b#c", "b#c"),
        ("A=#c", ""),
        ("A='b # c' # said", "b # c"),
        ("A='$b\\n'", "$b\\n"),
        ('A="b\\n\\"c\\" \\$d \\\\ \\x"', 'b\n"c" $d \\ \\x'),
        ('A="one\ntwo"\nB=c', "one\ntwo"),
        ("A=$(touch x)`y`", "$(touch x)`y`"),
        ("A=b=c", "b=c"),
        ("A=first\nA=last", "last"),
        ("\ufeffA=b\r\n", "b"),
    ],
)
def test_a_value(text: str, value: str) -> None:
    parsed = parse(text)
    assert parsed.values["A"] == value
    assert not parsed.wrong


def test_lines_that_are_nothing_of_ours_are_told_by_number_and_the_others_count() -> None:
    parsed = parse("# a comment\n\n; another\nA=b\nwhat is this\nC-D=e\nE='no end\nF=g")
    assert parsed.values == {"A": "b", "E": "'no end", "F": "g"}
    assert parsed.wrong == [5, 6, 7]
