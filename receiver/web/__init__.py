"""The way in: callbacks, the HTTP API, health."""
