"""The base class of all manifest models, and types of text that several of them use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from bb_jupyter.text.visible import quoted

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TOKEN_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_PASTED_SECRET = re.compile(
    r"(sk-|gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|AKIA|ASIA|AIza|eyJ|npm_|hf_)[\w.-]{16,}.*", re.ASCII
)


class StrictModel(BaseModel):
    """A part of a manifest: immutable, with no keys but its own, never showing its input in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def one_line(text: str) -> str:
    """Return *text*, a line with more than space in it.

    Raises:
        ValueError: it holds a control character or a line break, or is blank.
    """
    if _CONTROL.search(text):
        raise ValueError("control characters and line breaks are not allowed here")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _argument(text: str) -> str:
    if text.startswith("-") or re.search(r"\s", text):
        raise ValueError(f"{quoted(text)} begins with '-' or has a space in it")
    return text


def _token_ref(text: str) -> str:
    # The value is never echoed: what is pasted here by mistake is the secret itself.
    if _PASTED_SECRET.fullmatch(text):
        raise ValueError("looks like a secret itself\nName the environment variable or the file that holds it.")
    if not _TOKEN_REF.fullmatch(text):
        raise ValueError("is neither the name of an environment variable nor of a file in the home's secrets/ folder")
    return text


def absolute(text: str, info: ValidationInfo) -> str:
    """Make a path of the host absolute: ``~`` is expanded, a relative one starts at the manifest's folder.

    Args:
        text: the path as written.
        info: its context may carry ``base``, the folder of the manifest; else the working directory.

    Raises:
        ValueError: no such home directory.
    """
    base = info.context["base"] if info.context else Path.cwd()
    try:
        return str(Path(base, Path(text).expanduser()))
    except RuntimeError as error:
        raise ValueError(f"{quoted(text)}: {error}") from error


def _absolute_or_none(text: str, info: ValidationInfo) -> str:
    return absolute(one_line(text), info) if text else ""


NoneIsEmpty = BeforeValidator(lambda value: {} if value is None else value)
Line = Annotated[str, AfterValidator(one_line)]
OptionalArgument = Annotated[str, AfterValidator(lambda text: text and _argument(one_line(text)))]
Argument = Annotated[Line, AfterValidator(_argument)]
HostPath = Annotated[Line, AfterValidator(absolute)]
OptionalHostPath = Annotated[str, AfterValidator(_absolute_or_none)]
TokenRef = Annotated[str, AfterValidator(_token_ref)]
