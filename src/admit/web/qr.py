"""QR codes (ISO/IEC 18004) of links: a picture for pages, and characters for terminals."""

import io

import segno

SCALE = 4
"""Pixels of one module in the picture, at its natural size."""


def svg_of(link: str) -> str:
    """A data URL of an SVG picture, dark on white with the margin that scanners need."""
    return _code(link).svg_data_uri(scale=SCALE, light="#fff")


def text_of(link: str) -> str:
    """Lines of half blocks, for a terminal that writes light on dark."""
    written = io.StringIO()
    _code(link).terminal(written, compact=True)
    return written.getvalue()


def _code(link: str) -> segno.QRCode:
    """As small as the link allows, and then with as much redundancy as fits."""
    return segno.make_qr(link, error="l", boost_error=True)
