"""How a process on the host steers a gateway or a broker: JSON lines on a stream."""
