"""The real agents, in real bottles, in front of a scripted model."""
