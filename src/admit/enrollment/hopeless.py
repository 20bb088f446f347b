"""Whether mailing a code would be in vain. Only for apps that want it: the answer tells who is known."""

from admit.accounts import seats, users
from admit.accounts.apps import App
from admit.accounts.seats import Seats
from admit.accounts.users import User
from admit.enrollment.admit import DEACTIVATED
from admit.enrollment.policy import Admit, Applicant, Refuse, decide, within
from admit.errors import USER_DEACTIVATED, Refused
from admit.signin.proof import Intent, user_id_of_email
from admit.storage.database import Database
from admit.storage.transaction import Transaction


async def hopeless(db: Database, app: App, email: str, intent: Intent) -> Refused | None:
    """Why the owner of `email` could not come in; None when they might."""
    key = app.app_id, user_id_of_email(app, email)

    def find(tx: Transaction) -> tuple[User | None, Seats]:
        return users.by_user_id(tx, [key]).get(key), seats.of_app(tx, app.app_id)

    user, left = await db.read(find)
    if user is not None:
        return Refused(DEACTIVATED, code=USER_DEACTIVATED) if user.deactivated_at is not None else None
    applicant = Applicant(user_id=key[1], email=email, email_verified=True, intent=intent)
    decision = decide(app.policy, applicant)
    if isinstance(decision, Admit):
        decision = within(left, decision)
    return Refused(decision.message, code=decision.code) if isinstance(decision, Refuse) else None
