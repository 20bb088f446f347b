"""Notices: how signals travel between processes through NOTIFY. JSON: [writer_id, [[topic, key], …]]."""

from collections.abc import Sequence

import msgspec

from admit.storage.transaction import Signal

CHANNEL = "admit"
NOTICE_BYTES_MAX = 7_900  # PostgreSQL takes less than 8,000


def encode(writer_id: str, signals: Sequence[Signal]) -> list[str]:
    """Packs `signals` into as few notices as possible; none where there are no signals."""
    notices: list[str] = []
    room = 0
    pairs: list[tuple[str, str]] = []
    for signal in signals:
        pair = (signal.topic, signal.key)
        size = len(msgspec.json.encode(pair)) + 1
        if pairs and size > room:
            notices.append(_pack(writer_id, pairs))
            pairs = []
        if not pairs:
            room = NOTICE_BYTES_MAX - len(_pack(writer_id, []))
        pairs.append(pair)
        room -= size
    return [*notices, _pack(writer_id, pairs)] if pairs else notices


def decode(notice: str) -> tuple[str, list[Signal]] | None:
    """The writer who sent `notice` and its signals; None when a stranger used our channel."""
    try:
        writer_id, pairs = msgspec.json.decode(notice, type=tuple[str, list[tuple[str, str]]])
    except msgspec.MsgspecError:
        return None
    return writer_id, [Signal(topic, key) for topic, key in pairs]


def probe(probe_id: str) -> str:
    """A notice without signals, which a listener sends to itself."""
    return _pack(probe_id, [])


def _pack(writer_id: str, pairs: list[tuple[str, str]]) -> str:
    return msgspec.json.encode((writer_id, pairs)).decode()
