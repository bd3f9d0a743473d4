"""Long comparisons, each a command of its own with ``--help``; their tests run short ones."""
