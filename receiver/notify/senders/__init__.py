"""Sends one message to one target through Apprise, and says what became of it. The only room that imports Apprise.

When to send, and when to try again, is left to `dispatch` and `claims`.
"""
