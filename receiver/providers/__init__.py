"""Generation services: their models and parameters, their wire format, and advice on their error codes.

All that is particular to one service stands here, so that the other wings deal with a `Provider` and an `Outcome` only.
Retries, rates and pauses are left to `tasks`.
"""
