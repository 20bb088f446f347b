"""What a person sees of single sign-on: that it has stopped, where there is no page to go back to."""

import base64
import functools
import hashlib

import jinja2
from starlette.responses import Response

_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: light-dark(#f7f6f3, #111110); color: light-dark(#1c1b19, #eeece7);
  font: 1rem/1.5 ui-sans-serif, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 30rem; margin: 15vh auto 0; padding: 1.5rem; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; line-height: 1.3; letter-spacing: -.012em; }
p { margin: 0 0 .75rem; }
.muted { color: light-dark(#625e57, #a8a49c); font-size: .875rem; }
"""
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def stopped_page(sentence: str, status: int) -> Response:
    """Says `sentence`, and that the person may begin anew in the app."""
    html = _template().render(style=_STYLE, sentence=sentence)
    return Response(html, status, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("admit.web"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("sign_in_stopped.html")
