"""From an owed notice to the message in Slack: claims what is due, renders it, sends it, records what became of it.

Which notices are owed, and to which targets, is decided in `core` when a task settles; the rows are in `store`.
"""
