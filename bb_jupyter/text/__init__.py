"""Text for people: hostile text made visible, command lines split into words."""
