"""Takes the callbacks of image generations, keeps them, and tells people."""

__version__ = "0.1.0"
