"""The demos: the bundled network on the array, on a board's gateware, and on crossbars."""
