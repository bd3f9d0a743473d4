"""What users name on the command line: networks, weights, configurations, arrays and devices."""
