"""The only way bytes leave the house: HTTP under the egress policy, mail, and their signatures."""
