"""Text for people: hostile text made visible, tables, and command lines split into words."""
