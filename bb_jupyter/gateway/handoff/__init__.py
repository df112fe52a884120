"""Hand listening sockets off: they are bound in a bottle's network and served by processes outside it."""
