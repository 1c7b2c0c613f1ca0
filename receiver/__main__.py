"""`python -m receiver` is `receiver`. A Ctrl-C while it is still being loaded ends it without a traceback."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The entry point of `receiver`."""
    try:
        from receiver.cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell counts SIGINT


if __name__ == "__main__":
    main()
