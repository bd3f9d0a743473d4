"""The bench: cycles of reference layers and networks, and the speed of the software."""
