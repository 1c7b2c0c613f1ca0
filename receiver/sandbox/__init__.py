"""A local stand-in for the provider: its protocol, models and error codes, real pictures, callbacks that can go wrong.

It is for the demo, for tests, and for trying the receiver before paying for a generation. It stores nothing on disk,
and uses nothing of ours but `providers` and `core`.
"""

from receiver.sandbox.app import Sandbox, create_app
from receiver.sandbox.fates import IMAGES_MOST, CallbackBody, Fate, PictureCoding, SandboxOptions
from receiver.sandbox.server import open_sandbox, serve_sandbox
from receiver.sandbox.tasks import SandboxTask, Submission, TaskBook

__all__ = [
    "IMAGES_MOST",
    "CallbackBody",
    "Fate",
    "PictureCoding",
    "Sandbox",
    "SandboxOptions",
    "SandboxTask",
    "Submission",
    "TaskBook",
    "create_app",
    "open_sandbox",
    "serve_sandbox",
]
