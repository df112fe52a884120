"""The approval queue on disk: proposals, decisions and outcomes."""
