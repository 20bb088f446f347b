"""Words that find users, and what is typed to find them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.accounts.user_search import TERMS_MAX, WORD_CHARACTERS_MAX, ranges_of, words_of
from admit.errors import InvalidRequest


def finds(search: str, user_id: str = "", email: str = "", name: str = "") -> bool:
    """Whether the search would find that user, as the database compares: byte by byte."""
    words = [word.encode() for word in words_of(user_id, email, name)]
    return all(
        any(words_range.first.encode() <= word < words_range.stop.encode() for word in words)
        for words_range in ranges_of(search)
    )


# Without the dotted and dotless i of Turkish, whose case is a matter of the language.
LETTERS = st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x24F, exclude_characters="ıİ")


@given(name=st.text(LETTERS, min_size=1, max_size=40), length=st.integers(1, 40))
def test_every_beginning_of_a_word_finds_it_in_either_case(name: str, length: int) -> None:
    assert finds(name[:length], name=name)
    assert finds(name[:length].upper(), name=name)
    assert finds(name[:length].lower(), name=name)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ada", True),
        ("ADA LOVE", True),
        ("Lovelace, Ada", True),
        ("king", True),
        ("king's", True),
        ("ada@example", True),
        ("math@", True),
        ("love ada king", True),
        ("ovelace", False),
        ("ada byron", False),
        ("lovelace@", False),
        ("%", False),
        ("_da", False),
        ("a*", False),
        ("", True),
    ],
)
def test_search_is_by_beginnings_and_by_all_words_typed(search: str, found: bool) -> None:
    assert finds(search, "ada@example.com", "math@example.com", 'Ada "King\'s" Lovelace') is found


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("Straße", "STRASSE"),
        ("Ångström", "ångs"),
        ("Zoe\u0308", "zoë"),
        ("ﬁne", "fine"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("李小龙", "李小"),
    ],
)
def test_spellings_of_one_word_meet(name: str, search: str) -> None:
    assert finds(search, name=name)


def test_name_of_many_long_words_is_filed_under_a_few() -> None:
    words = words_of("u", "", " ".join(letter * 5_000 for letter in "abcdefghijkl"))

    assert len(words) == 9
    assert max(map(len, words)) == WORD_CHARACTERS_MAX


def test_user_id_with_spaces_is_found_by_each_of_its_words() -> None:
    assert finds("john do", user_id="John Doe 7")


@pytest.mark.parametrize(
    "search", ["a\x00", "\x1b", "\ud800", "x" * 501, " ".join("abcdefgh"[: TERMS_MAX + 1])]
)
def test_search_that_cannot_find_anything_is_refused(search: str) -> None:
    with pytest.raises(InvalidRequest):
        ranges_of(search)


@given(st.text())
def test_whatever_is_typed_is_a_search_that_the_databases_can_take_or_invalid(search: str) -> None:
    try:
        ranges = ranges_of(search)
    except InvalidRequest:
        return
    assert len(ranges) <= TERMS_MAX
    for words in ranges:
        assert "\x00" not in words.first
        assert words.first.encode() < words.stop.encode()
