"""A local stand-in for the provider; `server` says what it does."""

from receiver.sandbox.app import Sandbox, create_app
from receiver.sandbox.fates import Body, Fate, Options
from receiver.sandbox.server import running, serve
from receiver.sandbox.tasks import Book, Submission, Task

__all__ = ["Body", "Book", "Fate", "Options", "Sandbox", "Submission", "Task", "create_app", "running", "serve"]
