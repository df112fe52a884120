"""The embedded backend: Linux namespaces by bubblewrap; no daemon, no root, no image."""
