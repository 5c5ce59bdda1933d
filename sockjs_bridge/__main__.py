"""`python -m sockjs_bridge` is the same as the `sockjs-bridge` command."""

import sys

from sockjs_bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
