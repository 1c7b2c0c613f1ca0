"""`python -m receiver.pictures.drawing` is the child: a task on its standard input, pictures on its standard output."""

import sys

from receiver.pictures.drawing.child import run_child

run_child(sys.stdin.buffer, sys.stdout.buffer)
