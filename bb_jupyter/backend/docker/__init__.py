"""Bottles in containers of a Docker engine, near or far: no bind mount, no published port, no CLI."""
