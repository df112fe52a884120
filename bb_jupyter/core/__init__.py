"""What notebooks, the web API and experiments drive: the session, its bottles, branches and agent runs."""
