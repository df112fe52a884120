"""Secrets in bytes: the gateway's own, in any usual encoding, and those that have a form of their own.

Patterns are detect-secrets', but neither its allow-list comments, which the agent could write, nor its choice of files:
every byte of every object is looked at, text or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bb_jupyter.gateway.proxy.redact import Masker

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin

_REFUSED: Final = (
    "aws.AWSKeyDetector", "azure_storage_key.AzureStorageKeyDetector", "discord.DiscordBotTokenDetector",
    "github_token.GitHubTokenDetector", "gitlab_token.GitLabTokenDetector", "mailchimp.MailchimpDetector",
    "private_key.PrivateKeyDetector", "pypi_token.PypiTokenDetector",
    "sendgrid.SendGridDetector", "slack.SlackDetector", "square_oauth.SquareOAuthDetector", "stripe.StripeDetector",
    "telegram_token.TelegramBotTokenDetector", "twilio.TwilioKeyDetector",
)  # fmt: skip
"""Secrets by their form, for certain enough to refuse a push."""

_MORE: Final = {
    "Anthropic key": r"sk-ant-[A-Za-z0-9_-]{24,}",
    "OpenAI Token": r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{24,}|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",
    "GitHub Token": r"github_pat_[A-Za-z0-9_]{40,}",
    "Google API key": r"AIza[A-Za-z0-9_-]{35}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "NPM tokens": r"npm_[A-Za-z0-9]{36}|/:_authToken=\s{0,20}[A-Fa-f0-9-]{36}",
}
"""What the forms in detect-secrets 1.5 leave out, as the issuers' documentation describes it; and in place of those of
OpenAI and npm, whose time grows with the square of a line: a push could hold the gate for hours.
"""

_DOUBTFUL: Final = ("basic_auth.BasicAuthDetector", "jwt.JwtTokenDetector", "keyword.KeywordDetector")
_OWN: Final = "credential of this bottle's gateway"
_WHITE: Final = b"\0 \t\r\n"
_WIDE: Final = re.compile(rb"(?:[\t-~]\0){16,}[\t-~]?")
"""UTF-16, whichever way round."""
_ENTROPY_LIMIT: Final = 3.7  # bits a character: above words, below random base64 of 16 and more
_LONGEST_LINE: Final = 2000


class Found(NamedTuple):
    """A secret: which rule says so, at which byte it begins, and the bytes themselves."""

    rule: str
    at: int
    value: bytes


def _plugins(names: Iterable[str]) -> Iterator[BasePlugin]:
    from importlib import import_module

    for name in names:
        module, _, plugin = name.rpartition(".")
        yield getattr(import_module(f"detect_secrets.plugins.{module}"), plugin)()


class Scanner:
    """Finds secrets.

    Args:
        secrets: what the gateway itself holds.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._own = Masker(secret for secret in secrets if len(secret) >= 6)

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        plugins: Iterable[Any] = _plugins(_REFUSED)
        known = [(str(plugin.secret_type), pattern) for plugin in plugins for pattern in plugin.denylist]
        return known + [(rule, re.compile(pattern)) for rule, pattern in _MORE.items()]

    @cached_property
    def _hinting(self) -> list[BasePlugin]:
        return [*_plugins(_DOUBTFUL)]

    def certain(self, data: bytes) -> Iterator[Found]:
        """Yield what must not go anywhere, also where text is UTF-16 or broken into lines."""
        if (at := self._own.position(data)) >= 0:
            yield Found(_OWN, at, b"")
        elif self._own.position(data.translate(None, _WHITE)) >= 0:
            yield Found(_OWN, 0, b"")
        yield from self._by_form(data)
        for wide in _WIDE.finditer(data):
            yield from (found._replace(at=wide.start()) for found in self._by_form(wide[0].replace(b"\0", b"")))

    def _by_form(self, data: bytes) -> Iterator[Found]:
        text = data.decode("latin-1")
        for rule, pattern in self._patterns:
            for match in pattern.finditer(text):
                yield Found(rule, match.start(), match[0].encode("latin-1"))

    def doubtful(self, text: str) -> Iterator[tuple[str, int, bool]]:
        """Yield what may be a secret: the rule, the line, and whether it looks so random that it is one for certain."""
        from detect_secrets.plugins.keyword import KeywordDetector

        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > _LONGEST_LINE:
                continue
            for plugin in self._hinting:
                values = [value for value in plugin.analyze_string(line) if _plausible(value, line)]
                if values:
                    keyword = isinstance(plugin, KeywordDetector)
                    yield plugin.secret_type, number, keyword and any(map(_random, values))


def _plausible(value: str, line: str) -> bool:
    """Leave out what only refers to a secret: templates, variables, calls, asterisks, sequences."""
    from detect_secrets.filters import heuristic

    by_value = (
        heuristic.is_sequential_string, heuristic.is_templated_secret, heuristic.is_prefixed_with_dollar_sign,
        heuristic.is_not_alphanumeric_string, heuristic.is_potential_uuid,
    )  # fmt: skip
    return not any(check(value) for check in by_value) and not heuristic.is_indirect_reference(line)


def _random(value: str) -> bool:
    """Whether a value has the entropy (Shannon's, of its characters) of a generated one."""
    import math
    from collections import Counter

    if len(value) < 16 or not re.search(r"\d", value) or re.search(r"\s", value):
        return False
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares) >= min(_ENTROPY_LIMIT, math.log2(len(value)) - 0.5)
