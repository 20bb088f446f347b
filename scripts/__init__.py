"""Tools for working on this repository. Nothing here is shipped."""
