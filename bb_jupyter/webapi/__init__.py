"""What a person watches and steers, as plain JSON: one API behind the JupyterLab panel and the dashboard widget.

`routes.ROUTES` is all of it: patterns, methods, functions.  The server extension offers it over REST, the widget over
its comm; both validate by the same patterns and call the same functions, and `watcher` tells both what has changed.
"""
