"""Templates: what an operator has begun to look at is there for the next page."""

import time
from types import SimpleNamespace

from admit.web.manager.assets import Assets
from admit.web.manager.rendering import Renderer

SECONDS_MAX = 60.0
PAGE = SimpleNamespace(theme="", csrf="", url=lambda path: path)


def test_behind_the_first_page_all_other_templates_are_read() -> None:
    renderer = Renderer(Assets("/manager/static"))
    environment = renderer._environment
    assert environment.cache is not None
    assert len(environment.cache) <= 2, "the parts, and what they are made of"
    renderer.page("stopped.html", {"page": PAGE, "sentence": "It is over.", "code": "link_over"})
    give_up_at = time.monotonic() + SECONDS_MAX
    while len(environment.cache) < len(environment.list_templates()):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
