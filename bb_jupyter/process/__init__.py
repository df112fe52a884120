"""Processes of the host: which one owns a bottle, how a trusted child is started, how an interrupt is deferred."""
