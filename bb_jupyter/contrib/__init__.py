"""The built-in agent providers, each in a folder of its own with its Dockerfile."""
