"""Thumbnails and contact sheets, drawn in child processes with limits. `protocol` says how the parts work together."""
