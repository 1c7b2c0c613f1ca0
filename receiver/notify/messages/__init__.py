"""What a message says, and how each service wants it written. Pure: it reads reports and returns texts.

How a message is sent is left to `senders`.
"""
