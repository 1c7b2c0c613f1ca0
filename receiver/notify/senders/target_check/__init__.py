"""Loads targets in a process of its own, once the service listens: a URL that cannot work is reported at once."""
