"""What several backends use; no backend imports another."""
