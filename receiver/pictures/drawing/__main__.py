"""`python -m receiver.pictures.drawing`: the child process; reads a request from stdin, writes pictures to stdout."""

import sys

from receiver.pictures.drawing.child import run_child

run_child(sys.stdin.buffer, sys.stdout.buffer)
