"""How plans, proposals, transcripts and tables look in a cell."""
