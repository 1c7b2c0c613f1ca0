"""The life of a task: accepted, submitted, settled by a callback or by the sweep's poll.

What an outcome means is decided in `core.decide`, SQL is in `store`, and messages are sent by `notify`.
"""
