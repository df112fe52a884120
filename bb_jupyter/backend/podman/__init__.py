"""Bottles in containers of podman, rootless or root, by its Docker-compatible socket."""
