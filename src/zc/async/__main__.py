"""``python -m zc.async``: the same as the ``zc-async`` script."""
import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())
