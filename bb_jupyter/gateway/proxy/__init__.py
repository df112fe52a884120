"""The egress proxy: requests judged, tunnelled or intercepted."""
