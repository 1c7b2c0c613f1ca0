"""Puts the service together: `wiring` makes and connects the parts, `worker` runs their loops.

The commands and the HTTP server that use the parts are in `cli` and `web`.
"""
