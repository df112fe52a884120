"""The IPython face: magics, cell streaming, display.  Parses and delegates; `bb_jupyter.core.session` does the work."""
