"""`python -m receiver` is `receiver`."""

from receiver.cli import main

main()
