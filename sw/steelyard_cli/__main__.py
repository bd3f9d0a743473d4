"""``python -m steelyard_cli`` is the command ``steelyard``."""

from .app import main

if __name__ == "__main__":
    main()
