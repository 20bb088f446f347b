"""How signals travel between processes."""

from hypothesis import given
from hypothesis import strategies as st

from admit.storage.notices import NOTICE_BYTES_MAX, decode, encode, probe
from admit.storage.transaction import Signal

words = st.text(st.characters(codec="utf-8"), max_size=300)


@given(st.lists(st.builds(Signal, words, words), max_size=60))
def test_notices_carry_every_signal_in_order_and_fit(signals: list[Signal]) -> None:
    notices = encode("wrt_1", signals)
    received = []
    for notice in notices:
        assert len(notice.encode()) <= NOTICE_BYTES_MAX
        decoded = decode(notice)
        assert decoded is not None
        assert decoded[0] == "wrt_1"
        received += decoded[1]
    assert received == signals


def test_few_notices_carry_many_signals() -> None:
    signals = [Signal("user", f"app_{i:026}/usr_{i:026}") for i in range(256)]
    assert len(encode("wrt_" + "x" * 32, signals)) == 3


@given(st.text())
def test_nonsense_is_no_notice(text: str) -> None:
    decoded = decode(text)
    assert decoded is None or isinstance(decoded[0], str)


def test_probe_carries_no_signals() -> None:
    assert decode(probe("prb_1")) == ("prb_1", [])
