"""External memory: the port that its users see, chips, and the controller of SDR SDRAM."""
