"""What the type of a provider presets: everything that its operator need not look up. Pure."""

from typing import Any, assert_never

from admit.accounts.providers import EVERY_DOMAIN, HOSTED_DOMAIN, ProviderType

CONSUMERS_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of Microsoft's personal accounts."""


def preset(type: ProviderType) -> dict[str, Any]:
    """Fields of Provider with the values that hold where the operator gave none.

    Each may be given all the same: GitHub Enterprise and the national clouds of Microsoft live elsewhere,
    where nobody is trusted by a preset. What is not among them has the value of Provider, or must be given.
    """
    match type:
        case "google":
            return {
                "display_name": "Google",
                "issuer": "https://accounts.google.com",
                "scopes": ("openid", "email", "profile"),
                # Google keeps these mailboxes itself; of others it knows only that they were confirmed once.
                "trusted_domains": ("gmail.com", "googlemail.com", HOSTED_DOMAIN),
            }
        case "github":
            return {
                "display_name": "GitHub",
                "issuer": "https://github.com",
                "authorization_endpoint": "https://github.com/login/oauth/authorize",
                "token_endpoint": "https://github.com/login/oauth/access_token",
                "userinfo_endpoint": "https://api.github.com/user",
                "emails_endpoint": "https://api.github.com/user/emails?per_page=100",
                "scopes": ("read:user", "user:email"),
                "trusted_domains": (EVERY_DOMAIN,),
            }
        case "microsoft":
            return {
                "display_name": "Microsoft",
                "issuer": "https://login.microsoftonline.com/common/v2.0",
                "scopes": ("openid", "email", "profile"),
                # The claim `email` is whatever a tenant's administrator has typed (nOAuth). xms_edov, which
                # must be asked for in the app registration, says that the tenant owns its domain.
                "claims": {"email_verified": "xms_edov"},
            }
        case "apple":
            return {
                "display_name": "Apple",
                "issuer": "https://appleid.apple.com",
                "scopes": ("name", "email"),
                "response_mode": "form_post",
                "trusted_domains": (EVERY_DOMAIN,),
            }
        case "oidc":
            return {"scopes": ("openid", "email", "profile")}
        case "oauth2":
            return {}
        case _:
            assert_never(type)
