"""Speaking with providers of single sign-on: what is asked, what is believed, and what is remembered.

Nothing here knows an app's people: an `Identity` comes out, or a ProviderFault.
"""
