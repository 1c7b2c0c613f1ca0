"""The way in: the provider's callbacks, the HTTP API, pictures, health and metrics.

Requests are checked, decoded and answered here. What they mean is left to `tasks` and `store`, how a process is put
together to `service`.
"""
