"""What a gateway decided: the log, its history, and routes suggested from it."""
