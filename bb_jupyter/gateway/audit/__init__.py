"""The audit log of a bottle, its history, and routes suggested from it."""
