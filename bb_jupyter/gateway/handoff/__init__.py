"""Listening sockets that are made in a bottle's network and served outside it."""
