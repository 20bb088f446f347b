"""Finding users by what is typed: the words they are filed under, and the ranges of words that match."""

import re
import unicodedata

import msgspec

from admit.errors import InvalidRequest

NAME_WORDS_MAX = 8
WORD_CHARACTERS_MAX = 64
TERMS_MAX = 4
SEARCH_CHARACTERS_MAX = 500

_LAST = "\U0010ffff"  # sorts behind every character that can be typed, and is none
_NEVER_STORED = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_AROUND_WORDS = "\"'()[]{}<>,;:"  # "Lovelace, Ada" is what people paste


class WordRange(msgspec.Struct, frozen=True):
    """The words from `first` up to, but without, `stop`: those with one prefix, in the order of bytes."""

    first: str
    stop: str


def words_of(user_id: str, email: str, name: str) -> set[str]:
    """The words that find a user: those of the userId, the email, and the first NAME_WORDS_MAX of the name.

    Words of a name end after WORD_CHARACTERS_MAX; those of a userId are whole, with and without brackets.
    """
    words = {_fold(word) for word in user_id.split()}
    words |= {word.strip(_AROUND_WORDS) for word in words}
    if email != user_id:
        words.add(_fold(email))
    for word in name.split()[:NAME_WORDS_MAX]:
        words.add(_fold(word).strip(_AROUND_WORDS)[:WORD_CHARACTERS_MAX])
    words.discard("")
    return words


def ranges_of(search: str) -> list[WordRange]:
    """What a user's words must have one of each of: each word of `search` is the beginning of a word.

    Raises InvalidRequest where `search` cannot be one.
    """
    if len(search) > SEARCH_CHARACTERS_MAX:
        raise InvalidRequest(f"The search has more than {SEARCH_CHARACTERS_MAX} characters.")
    if _NEVER_STORED.search(search):
        raise InvalidRequest("The search has a control character.")
    terms = {_fold(term).strip(_AROUND_WORDS) for term in search.split()} - {""}
    if len(terms) > TERMS_MAX:
        raise InvalidRequest(f"The search has more than {TERMS_MAX} words.")
    return [WordRange(term, term + _LAST) for term in sorted(terms)]


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    # Folding may undo the normal form: "ǰ" becomes j and a combining caron.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())
    return folded.replace(_LAST, "")
