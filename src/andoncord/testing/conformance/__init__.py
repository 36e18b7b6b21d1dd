"""Suites that an implementation of yours can be run through (public; they need pytest)."""
