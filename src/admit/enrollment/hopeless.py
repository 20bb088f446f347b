"""Whether mailing a code would be in vain. Only for apps that want it: the answer tells who is known."""

from collections.abc import Sequence

from admit.accounts import seats, users
from admit.accounts.apps import App
from admit.accounts.seats import Seats
from admit.accounts.users import User
from admit.enrollment.barred import barred_of, refusal_of
from admit.enrollment.policy import Admit, Applicant, Refuse, decide, within
from admit.errors import Refused
from admit.signin.proof import Intent, user_id_of_email
from admit.storage.database import Database
from admit.storage.transaction import Transaction

WAY_IN = "email_code"


async def hopeless(db: Database, app: App, email: str, intent: Intent) -> Refused | None:
    """Why the owner of `email` could not come in; None when they might."""
    key = app.app_id, user_id_of_email(app, email)

    def find(tx: Transaction) -> tuple[User | None, Sequence[Seats]]:
        left = seats.left_for(tx, [(app.app_id, WAY_IN)])
        return users.by_user_id(tx, [key]).get(key), left.of(app.app_id, WAY_IN)

    user, left = await db.read(find)
    if user is not None:
        barred = barred_of(user)
        return None if barred is None else refusal_of(barred)
    applicant = Applicant(user_id=key[1], email=email, email_verified=True, intent=intent)
    decision = decide(app.policy_for(WAY_IN), applicant)
    if isinstance(decision, Admit):
        decision = within(left, decision)
    return Refused(decision.message, code=decision.code) if isinstance(decision, Refuse) else None
