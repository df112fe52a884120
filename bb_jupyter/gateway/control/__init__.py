"""The control protocol of gateways and brokers: JSON lines, in both directions."""
