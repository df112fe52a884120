"""Files that a program of this host obeys because of where they lie, without being asked to run anything.

A copy out of a bottle must not bring them unasked: git runs what a repository's configuration names at the next `git
status` (`core.fsmonitor`, hooks, drivers), pytest imports `conftest.py`, Python imports `sitecustomize.py` and runs
lines of `.pth` files, IPython and Jupyter run their configuration, R its `.Rprofile`, Mercurial its `hgrc`.

Programs that the user starts on purpose (`make`, `npm`, an editor's task) read other files: those are content, and the
report only names them.

Sources: git-config(1), gitattributes(5), gitrepository-layout(5); Python's `site` module and PEP 3147; pytest, "Writing
plugins"; IPython, "Introduction to IPython configuration"; R, `?Startup`; hgrc(5); CVE-2022-24765, CVE-2024-32002.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

#: Name of a file or folder, in lower case, at any depth → the program that obeys it.
_BY_NAME: Final = {
    ".git": "git", ".gitattributes": "git", ".lfsconfig": "git-lfs",
    ".hg": "Mercurial", ".hgrc": "Mercurial", ".svn": "Subversion", ".jj": "Jujutsu", ".bzr": "Breezy",
    "conftest.py": "pytest", "sitecustomize.py": "Python", "usercustomize.py": "Python", "pyvenv.cfg": "Python",
    "__pycache__": "Python", ".pdbrc": "pdb", ".pythonrc": "Python", ".pythonrc.py": "Python",
    ".ipython": "IPython", "ipython_config.py": "IPython", "ipython_kernel_config.py": "IPython",
    ".jupyter": "Jupyter", ".bot-bottle": "bb_jupyter",
    ".rprofile": "R", ".renviron": "R", ".gdbinit": "gdb", ".lldbinit": "lldb",
    ".exrc": "vi", ".vimrc": "vim", ".nvimrc": "Neovim", ".nvim.lua": "Neovim", ".dir-locals.el": "Emacs",
}  # fmt: skip
_BY_PATTERN: Final = (
    ("*.pth", "Python"),
    ("*.pyc", "Python"),
    ("*.egg-link", "Python"),
    ("jupyter*_config.py", "Jupyter"),
    ("jupyter*_config.json", "Jupyter"),
    ("jupyter*_config.d", "Jupyter"),
)
#: What users start on purpose, or editors ask about first.
_CONTENT: Final = frozenset({
    "makefile", "gnumakefile", "justfile", "rakefile", "package.json", ".npmrc", ".yarnrc", ".yarnrc.yml", ".envrc",
    ".env", ".vscode", ".idea", ".devcontainer", ".github", ".gitlab-ci.yml", ".gitmodules", ".pre-commit-config.yaml",
    ".husky", "setup.py", "noxfile.py", "tox.ini", "mise.toml", ".tool-versions", "dockerfile", "compose.yaml",
})  # fmt: skip
#: An attribute that names a program of git's configuration (gitattributes(5): filter, diff, merge drivers).
_DRIVER: Final = re.compile(rb"(?:^|\s)(?:filter|diff|merge)=\S", re.MULTILINE)


def obeyed_by(path: PurePosixPath) -> str:
    """Return which program obeys a file, from the names in its path; empty for none.

    Args:
        path: relative to where the copy goes.  A part is compared without case and without the trailing dots and
            spaces that some file systems drop (`.GIT`, `.git.`, and the short name `git~1`).
    """
    for part in path.parts:
        name = part.casefold().rstrip(". ") or part
        if name == "git~1" or name.partition(":")[0] == ".git":
            return "git"
        if name in _BY_NAME:
            return _BY_NAME[name]
        for pattern, program in _BY_PATTERN:
            if fnmatchcase(name, pattern):
                return program
    return ""


def names_drivers(attributes: bytes) -> bool:
    """Return whether a `.gitattributes` file names a driver; one that only says what is text is content."""
    return bool(_DRIVER.search(attributes))


def is_worth_naming(path: PurePosixPath) -> bool:
    """Return whether a file is content that users run on purpose, such as a Makefile."""
    return any(part.casefold() in _CONTENT for part in path.parts)


def is_taken(path: PurePosixPath, patterns: Collection[str]) -> bool:
    """Return whether one of *patterns* names a file: by its name, by a folder above it, or by its path."""
    parts = path.parts
    candidates = {*parts, *("/".join(parts[:end]) for end in range(1, len(parts) + 1))}
    return any(fnmatchcase(candidate, pattern.strip("/")) for pattern in patterns for candidate in candidates)
