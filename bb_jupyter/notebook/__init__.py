"""The magics of IPython and the output of their cells.  They parse and delegate to `bb_jupyter.core.session`."""
