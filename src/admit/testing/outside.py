"""The outside, as a test scripts it: what is answered to which request, and what was sent."""

from collections.abc import Mapping
from typing import Any

import msgspec

from admit.task.headers import Headers
from admit.task.stage import NotAnswered
from admit.task.wire import Fetch, Fetched


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the task has sent. Headers are found in any case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """Its Idempotency-Key."""
        return self.headers.get("idempotency-key", "")

    def json(self) -> Any:
        """The body, read as JSON."""
        return msgspec.json.decode(self.body)


class Http:
    """Answers the requests of a task as it was told to. A request that it has no answer for fails the test.

    A URL without a query stands for every query. The answers to one method and URL are given one after the
    other, and the last again and again.
    """

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self._answers: dict[tuple[str, str], list[Fetched | str]] = {}

    def reply(
        self,
        method: str,
        url: str,
        status: int = 200,
        *,
        json: object = msgspec.UNSET,
        text: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Has a request answered, with `json` or `text` as its body."""
        body = text.encode() if json is msgspec.UNSET else msgspec.json.encode(json)
        told = {name.lower(): value for name, value in (headers or {}).items()}
        self._add(method, url, Fetched(status=status, headers=told, body=body))

    def fail(self, method: str, url: str, sentence: str = "Nobody answers there.") -> None:
        """Has a request not answered at all: NotAnswered is raised in the task."""
        self._add(method, url, sentence)

    def answer(self, fetch: Fetch) -> Fetched:
        """What is answered to a request, which is taken down. Raises AssertionError where it is not known."""
        sent = Sent(method=fetch.method, url=fetch.url, headers=Headers(fetch.headers), body=fetch.body)
        self.requests.append(sent)
        exact, anyhow = (fetch.method, fetch.url), (fetch.method, fetch.url.partition("?")[0])
        answers = self._answers.get(exact) or self._answers.get(anyhow)
        if not answers:
            raise AssertionError(
                f"The task sent {fetch.method} {fetch.url}, and this test has no answer to it. "
                f"Add http.reply({fetch.method!r}, {fetch.url!r}, …)."
            )
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, str):
            raise NotAnswered(answer)
        return answer

    def _add(self, method: str, url: str, answer: Fetched | str) -> None:
        self._answers.setdefault((method.upper(), url), []).append(answer)
