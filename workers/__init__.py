"""Dramatiq, and the loops that feed it."""
