"""Files that hold credentials: what stays out of a bottle unless a person asks for it, whatever a workspace says.

A path alone decides about files that hold nothing else, at any depth and without regard to case.  Files that may or may
not hold a credential (`.npmrc`, `.pem`, `.git/config`) go in only when their content shows that there is none.  Any
other file stays out when its first mebibyte, text or binary, has a private key or a token of a form that nothing else
has.

Sources: the documentation of each program; the forms of tokens as their issuers describe them; RFC 7468 (PEM).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

#: Bytes at the beginning of a file that are looked at.
SCANNED: Final = 1 << 20

#: Paths in lower case.  One with a slash is compared with as many last parts; one that ends in a slash, with every
#: folder above the file.
_ALWAYS: Final = (
    ".env", ".netrc", "_netrc", ".authinfo", ".authinfo.gpg", ".pypirc", ".git-credentials", "git/credentials",
    ".aws/", ".ssh/", ".gnupg/", ".azure/", ".kube/", ".password-store/", ".local/share/keyrings/", ".config/gcloud/",
    ".docker/config.json", ".dockercfg", "containers/auth.json", "gh/hosts.yml", "glab-cli/config.yml",
    "github-copilot/hosts.json", "github-copilot/apps.json", "application_default_credentials.json", ".boto", ".s3cfg",
    "huggingface/token", "huggingface/stored_tokens", ".huggingface/token", "kaggle.json", ".pgpass", "pgpass.conf",
    ".my.cnf", ".mylogin.cnf", ".claude/.credentials.json", ".claude.json", ".codex/auth.json", "opencode/auth.json",
    ".gemini/oauth_creds.json", ".qwen/oauth_creds.json", "amp/secrets.json", "goose/secrets.yaml",
    "credentials.tfrc.json", ".terraformrc", "*.tfstate", "*.tfstate.*", "rclone.conf", ".oci/config",
    ".oci/sessions/", ".databrickscfg", ".snowsql/config", "snowflake/connections.toml", ".pulumi/credentials.json",
    ".vault-token", ".vault_pass*", ".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials",
    ".bundle/config", ".composer/auth.json", ".sbt/credentials", ".ivy2/.credentials", ".htpasswd", ".smbcredentials",
    ".msmtprc", ".passwd-s3fs", ".rediscli_auth", ".dev.vars", ".streamlit/secrets.toml", ".bot-bottle/secrets/",
    "jupyter/runtime/", "jupyter_cookie_secret", "notebook_secret", "filezilla/sitemanager.xml", "wallet.dat",
    "logins.json", "key4.db", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk",
    "*.p12", "*.pfx", "*.kdbx", "*.kdb", "*.jks", "*.keystore", "*.ppk", "*.keychain", "*.keychain-db",
)  # fmt: skip
_TEMPLATES: Final = frozenset({"example", "sample", "template"})

_URL_SECRET: Final = re.compile(rb"://(?:[^/\s:@\"']*:[^/\s@\"']+|[A-Za-z0-9_-]{20,})@")
_ASSIGNED: Final = re.compile(
    rb"(?im)^[^#;\n]{0,200}(?:_?auth(?:token|ident)?|passw(?:or)?d|secret|token|api_?key|private_?key|access_?key"
    rb"|extraheader)[\"']?\s*[,:=>]+\s*[\"']?(?!\$|[\"'\s]|<|%\(|\{\{)\S"
)
_PRIVATE: Final = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\r|\\n)"
    rb"(?:[A-Za-z][A-Za-z-]{1,40}: [^\n]{0,200}(?:\s|\\n)+)*(?:\s|\\r|\\n)*[A-Za-z0-9+/=]{32}"
)
_DER: Final = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01]", re.DOTALL)
#: A word that every match has → the form.
_FORMS: Final = tuple(
    (word, rule, re.compile(pattern))
    for word, rule, pattern in (
        (b"PRIVATE KEY", "a private key", _PRIVATE.pattern),
        (b"PuTTY-User-Key-File-", "a private key", rb"PuTTY-User-Key-File-[23]: \S"),
        (b"AKIA", "an AWS key", rb"(?<![A-Za-z0-9/+])AKIA[2-7A-Z]{16}(?![A-Za-z0-9/+=])"),
        (b"aws_secret_access_key", "an AWS key", rb"aws_secret_access_key\s*=\s*[A-Za-z0-9/+]{40}"),
        (b"AccountKey=", "an Azure key", rb"AccountKey=[A-Za-z0-9+/]{86}=="),
        (b"gh", "a GitHub token", rb"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
        (b"github_pat_", "a GitHub token", rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{40}"),
        (b"glpat-", "a GitLab token", rb"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20}"),
        (b"pypi-AgE", "a PyPI token", rb"pypi-AgE[A-Za-z0-9_-]{80,}"),
        (b"SG.", "a SendGrid key", rb"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
        (b"xox", "a Slack token", rb"(?<![A-Za-z0-9])xox[abposr]-(?:[0-9]{8,}-)+[A-Za-z0-9]{20,}"),
        (b"k_live_", "a Stripe key", rb"(?<![A-Za-z0-9])[rs]k_live_[0-9A-Za-z]{24}"),
        (b"sk-ant-", "an Anthropic key", rb"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{24,}"),
        (b"sk-", "an OpenAI key", rb"(?<![A-Za-z0-9])sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}"),
        (b"AIza", "a Google key", rb"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
        (b"hf_", "a Hugging Face token", rb"(?<![A-Za-z0-9_=-])hf_[A-Za-z]{34}(?![A-Za-z0-9])"),
        (b"npm_", "an npm token", rb"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    )
)  # fmt: skip


def _settings(content: bytes) -> bool:
    """Whether a file of settings, a `key = value` or `[section]` a line, holds no credential."""
    lines = [line.strip() for line in content.splitlines()]
    plain = all(not line or line[:1] in b"#;[" or b"=" in line or b":" in line for line in lines)
    return plain and not _has_value(content)


def _has_value(content: bytes) -> bool:
    return bool(_URL_SECRET.search(content) or _ASSIGNED.search(content))


def _no_value(content: bytes) -> bool:
    return not _has_value(content) and not re.search(rb"(?i)<password>\s*[^\s<$]|cleartextpassword", content)


def _public(content: bytes) -> bool:
    """Whether a file named like a key or certificate holds public parts only, or is Keynote's `.key`, a ZIP."""
    if content.startswith(b"PK\3\4"):
        return True
    return b"-----BEGIN " in content and b"PRIVATE KEY" not in content


def _not_der(content: bytes) -> bool:
    return not _DER.match(content)


#: Name → whether the content shows that there is no credential.
_BY_CONTENT: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    (".npmrc", _settings), (".yarnrc", _no_value), (".yarnrc.yml", _settings), (".gitconfig", _settings),
    (".gitmodules", _settings), ("pip.conf", _settings), ("pip.ini", _settings), (".sentryclirc", _settings),
    (".pg_service.conf", _settings), ("my.cnf", _no_value), ("gradle.properties", _no_value), (".envrc", _no_value),
    ("*.env", _no_value), ("*.tfvars", _no_value), (".m2/settings.xml", _no_value),
    ("settings-security.xml", _no_value),
    ("nuget.config", _no_value), ("wp-config.php", _no_value), ("auth.json", _no_value), ("secrets.y*ml", _no_value),
    ("secrets.toml", _no_value), ("credentials.json", _no_value), ("client_secret*.json", _no_value),
    ("*.pem", _public), ("*.key", _public), ("*.p8", _public), ("*.pk8", _public), ("*.der", _not_der),
)  # fmt: skip


def by_name(path: PurePosixPath) -> bool:
    """Return whether a file holds a credential by its path alone, whatever its content is."""
    parts = _folded(path)
    name = parts[-1] if parts else ""
    if name.startswith(".env."):
        return name.rpartition(".")[2] not in _TEMPLATES
    if name == "debug.keystore" or ("trust" in name and name.endswith((".jks", ".p12", ".keystore"))):
        return False  # a password that everybody knows; certificates only
    return bool(_ALWAYS_RE.search("/" + "/".join(parts)))


def by_content(path: PurePosixPath, content: bytes) -> str:
    """Return which credential a file holds; empty for none.

    Args:
        path: of the file; some names are asked for more.
        content: its first `SCANNED` bytes.
    """
    parts = _folded(path)
    git_at = parts.index(".git") if ".git" in parts else len(parts)
    if parts[-1:] in (["config"], ["config.worktree"]) and git_at < len(parts) - 1 and not _settings(content):
        return "a credential"
    if "logs" in parts[git_at:] or parts[-1:] == ["fetch_head"]:
        if _URL_SECRET.search(content):
            return "a URL with a password"
    elif any(not harmless(content) for harmless in _questions("/" + "/".join(parts[-2:]))):
        return "a credential"
    if content[:2] == b"\xff\xfe":  # UTF-16
        content = content.replace(b"\0", b"")
    return next((rule for word, rule, form in _FORMS if word in content and form.search(content)), "")


def _folded(path: PurePosixPath) -> list[str]:
    return [part.casefold() for part in path.parts if part != "/"]


def _regex(patterns: Iterable[str]) -> str:
    """Return one expression for all patterns, to be searched in a path that begins with a slash.

    A pattern that ends in a slash matches a folder above the file, the others the file itself; `*` stays in one part.
    """
    each = (re.escape(pattern).replace(r"\*", "[^/]*") for pattern in patterns)
    return "|".join(pattern if pattern.endswith("/") else rf"{pattern}\Z" for pattern in each)


_ALWAYS_RE: Final = re.compile(f"/(?:{_regex(_ALWAYS)})", re.DOTALL)
_ASKED: Final = re.compile("/(?:" + "|".join(f"({_regex([pattern])})" for pattern, _ in _BY_CONTENT) + ")", re.DOTALL)


@lru_cache(4096)
def _questions(end: str) -> tuple[Callable[[bytes], bool], ...]:
    """Return what a file's content is asked, by the end of its path."""
    if not _ASKED.search(end):
        return ()
    matching = (harmless for pattern, harmless in _BY_CONTENT if re.search(f"/(?:{_regex([pattern])})", end, re.DOTALL))
    return tuple(matching)
