"""Admit, a self-hosted server for enrollment."""
