"""A local stand-in for the provider; `server` says what it does."""

from receiver.sandbox.app import Sandbox, create_app
from receiver.sandbox.fates import CallbackBody, Fate, SandboxOptions
from receiver.sandbox.server import open_sandbox, serve_sandbox
from receiver.sandbox.tasks import SandboxTask, Submission, TaskBook

__all__ = [
    "CallbackBody",
    "Fate",
    "Sandbox",
    "SandboxOptions",
    "SandboxTask",
    "Submission",
    "TaskBook",
    "create_app",
    "open_sandbox",
    "serve_sandbox",
]
