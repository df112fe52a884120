"""The IPython face: magics, cell streaming, display.  Parses and delegates; `bb_jupyter.session` does the work."""
