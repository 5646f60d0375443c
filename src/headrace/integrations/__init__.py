"""Bridges to other people's libraries: each file needs an extra of its own, and nothing imports it unasked."""
