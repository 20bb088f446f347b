"""Which mailer sends the mails of an app: its own mail server's, or the installation's."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from admit.accounts.directory import Directory
from admit.clock import Clock
from admit.outbound.addresses import EgressPolicy
from admit.outbound.mail import Mailer
from admit.outbound.smtp import SmtpMailer, mail_server

MAILERS_MAX = 100
"""So many mailers of apps keep their connections; the one that was longest not needed goes first."""

MailerOf = Callable[[str], Awaitable[Mailer]]
"""The mailer of an app, by app_id."""


class AppMailers:
    """The mailers of all apps. `installation` belongs to whoever gave it and is not closed here."""

    def __init__(
        self, installation: Mailer, directory: Directory, egress: EgressPolicy, clock: Clock
    ) -> None:
        self._installation = installation
        self._directory = directory
        self._egress = egress
        self._clock = clock
        self._own: OrderedDict[str, Mailer] = OrderedDict()

    async def mailer_of(self, app_id: str) -> Mailer:
        """The mailer of the app as it is set up now. Raises NotFound and StorageUnavailable."""
        app = await self._directory.app_by_id(app_id)
        return self._installation if not app.mail_server else await self.own_mailer(app.mail_server)

    async def own_mailer(self, url: str) -> Mailer:
        """The mailer of some app's own mail server. It reaches what the egress policy allows, and no more."""
        mailer = self._own.pop(url, None) or SmtpMailer(mail_server(url), self._clock, egress=self._egress)
        self._own[url] = mailer
        while len(self._own) > MAILERS_MAX:
            _, longest_idle = self._own.popitem(last=False)
            await longest_idle.close()
        return mailer

    async def close(self) -> None:
        """Closes the connections that are kept."""
        while self._own:
            _, mailer = self._own.popitem()
            await mailer.close()
