"""The scripted agent."""
