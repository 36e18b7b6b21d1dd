"""Whoever gives agents their credentials."""
