"""What can go wrong on the way to an engine."""


class EngineError(Exception):
    """No engine, or no image: what is missing and what to do, in one or two lines."""
