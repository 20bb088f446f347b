"""The sealed columns of this room that last, to be sealed anew when the keys are exchanged."""

from admit.accounts.app_providers import place_of_provider
from admit.accounts.app_secrets import place_of_hook_secret, place_of_id_key, place_of_mail_server
from admit.accounts.signing_keys import place_of_signing_key
from admit.accounts.tables import hook_secrets, id_keys, mail_servers, providers, signing_keys
from admit.storage.resealing import Sealed

SEALED = (
    Sealed(id_keys, place_of_id_key),
    Sealed(hook_secrets, place_of_hook_secret),
    Sealed(mail_servers, place_of_mail_server),
    Sealed(providers, place_of_provider),
    Sealed(signing_keys, place_of_signing_key),
)
