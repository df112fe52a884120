"""What a bottle's manifest may say, and each thing it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.manifest import BottleManifest, parse_bottle, validate_name

DESIGN = """\
---
agent_provider: {template: claude, dockerfile: "", auth_token: ANTHROPIC_API_KEY}
env: {LANG: C.UTF-8}
egress:
  routes:
    - host: api.anthropic.com
      auth: {scheme: header, header: x-api-key, token_ref: ANTHROPIC_API_KEY}
    - host: docs.python.org
      methods: [get, HEAD]
git-gate:
  user: {name: A. Researcher, email: a@example.org}
  repos:
    widgets: {url: "ssh://git@example.org/team/widgets.git", identity: ~/.ssh/id_ed25519, host_key: "ssh-ed25519 AAAA"}
supervise: true
limits: {cpus: 2, memory: 4g, pids: 512, timeout: 30m}
---
For *widgets*.
"""


def bottle(text: str) -> BottleManifest:
    return parse_bottle(text, name="demo", path="demo.md")


def refused(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        bottle(text)
    message = str(caught.value)
    assert message.startswith("demo.md") and len(message.splitlines()) <= 2
    assert message.replace("\n", "").isprintable()
    return caught.value


def route(text: str) -> ManifestError:
    return refused(f"egress: {{routes: [{{{text}}}]}}")


def repo(text: str) -> ManifestError:
    return refused(f"git-gate: {{repos: {{widgets: {{{text}}}}}}}")


def test_the_example_of_the_design() -> None:
    read = bottle(DESIGN)
    api, docs = read.egress.routes
    assert read.description == "For *widgets*."
    assert read.agent_provider.template == "claude" and read.agent_provider.dockerfile == ""
    assert api.auth and api.auth.header == "x-api-key" and api.effective_port == 443
    assert docs.methods == ("GET", "HEAD")
    assert read.git_gate.repos["widgets"].identity == str(Path.home() / ".ssh/id_ed25519")
    assert read.supervise and read.supervise.timeout == 300
    assert read.limits.memory == 4 * 2**30 and read.limits.timeout == 1800


@pytest.mark.parametrize(
    "text", ["", "---\n---\n", "env:\nlimits:\negress:\ngit-gate:\nagent_provider:\ncopies:", "# none", "image: ''"]
)
def test_an_empty_manifest_is_a_bottle_without_network(text: str) -> None:
    read = bottle(text)
    assert read.egress.routes == () and read.env == {} and not read.supervise


@pytest.mark.parametrize("text", ["egress:", "egress: {}", "egress: {routes: }", "egress: {routes: []}", "egress: ~"])
def test_no_routes_however_written_is_no_network(text: str) -> None:
    assert bottle(text).egress.routes == ()


def test_values_stay_as_they_are_written() -> None:
    read = bottle("env: {VERSION: 1.10, ANSWER: no, TIME: 12:30, OCTAL: 0644, EMPTY: '', LINES: \"a\\nb\"}")
    assert read.env == {
        "VERSION": "1.10",
        "ANSWER": "no",
        "TIME": "12:30",
        "OCTAL": "0644",
        "EMPTY": "",
        "LINES": "a\nb",
    }


def test_a_cell_may_be_plain_yaml_or_have_frontmatter() -> None:
    assert bottle("\nimage: debian:12\n").image == bottle("\n---\nimage: debian:12\n---\nnote").image == "debian:12"


def test_windows_line_ends_and_byte_order_mark() -> None:
    read = bottle("\ufeff---\r\nimage: debian:12\r\n---\r\nA note.\r\n")
    assert (read.image, read.description) == ("debian:12", "A note.")


def test_how_long_the_agent_waits_for_its_human_can_be_said() -> None:
    read = bottle("---\nsupervise: {timeout: 10m}\n---\n")
    assert read.supervise and read.supervise.timeout == 600
    assert bottle("---\nsupervise: false\n---\n").supervise is None


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("supervize: true", 1, "supervize", "unknown key\nDid you mean 'supervise'?"),
        ("git_gate: {}", 1, "git_gate", "unknown key\nDid you mean 'git-gate'?"),
        ("egress:\n  route: []", 2, "egress.route", "unknown key\nDid you mean 'routes'?"),
        ("egress:\n  routes:\n  - hst: a.b", 3, "egress.routes[0].hst", "unknown key\nDid you mean 'host'?"),
        ("egress: {routes: [{host: a.b, auth: {x: 1}}]}", 1, "egress.routes[0].auth.x", "unknown key\nKnown: header,"),
        ("limits:\n  memry: 1g", 2, "limits.memry", "Did you mean 'memory'?"),
        ("git-gate: {repos: {a: {ulr: x}}}", 1, "git-gate.repos.a.ulr", "Did you mean 'url'?"),
        ("<<: {a: b}", 1, "<<", "unknown key"),
        ("path: /x", 1, "path", "unknown key"),
        ("origin: home", 1, "origin", "unknown key"),
        ("prompt: x", 1, "prompt", "unknown key"),
        ("name: other", 1, "name", "is 'other' here and 'demo' outside"),
        ("env: [a]", 1, "env", "expected a mapping (key: value), got a list"),
        ("env:\n  A: [1]", 2, "env.A", "expected text, got a list"),
        ("env:\n  A:", 2, "env.A", "expected text, got nothing"),
        ("env: {1A: x}", 1, "env.1A", "cannot name a variable"),
        ("env: {'A=B': x}", 1, "env.A=B", "cannot name a variable"),
        ('env: {A: "\\0"}', 1, "env.A", "cannot hold a NUL"),
        ("supervise: maybe", 1, "supervise", "expected true or false, got 'maybe'\nOr say how long the agent waits"),
        ("supervise: {timeout: -1}", 1, "supervise.timeout", "not a duration: '-1'"),
        ("image: [a]", 1, "image", "expected text, got a list"),
        ("image: --privileged", 1, "image", "begins with '-'"),
        ("egress: api.example.com", 1, "egress", "expected a mapping (key: value), got text"),
        ("egress: {routes: {host: a.b}}", 1, "egress.routes", "expected a list, got a mapping"),
        ("limits:\n  cpus: two", 2, "limits.cpus", "expected a number, got 'two'"),
        ("limits: {cpus: -1}", 1, "limits.cpus", "greater than 0"),
        ("limits: {cpus: .nan}", 1, "limits.cpus", "expected a number, got '.nan'"),
        ("limits: {pids: 1.5}", 1, "limits.pids", "expected a whole number"),
        ("limits: {memory: 4}", 1, "limits.memory", "4 B is too little"),
        ("limits: {timeout: abc}", 1, "limits.timeout", "not a duration: 'abc' (write 90, 30s, 5m or 1h30m)"),
        ("agent_provider: {template: ../x}", 1, "agent_provider.template", "cannot be a provider's name"),
        ("copies: ['']", 1, "copies[0]", "is empty"),
    ],
)
def test_mistakes_are_named_with_line_and_key(text: str, line: int, key: str, words: str) -> None:
    error = refused(text)
    assert (error.line, error.key) == (line, key)
    assert words in str(error)


def test_lines_count_from_the_top_of_the_file() -> None:
    assert refused("---\nimage: x\n\nenv:\n  B-D: y\n---\nbody").line == 5


def test_the_first_mistake_of_the_file_is_named() -> None:
    assert refused("limits: {cpus: x}\nbogus: 1\nenv: 5").key == "limits.cpus"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\nimage: x\n", "'---' is never closed"),
        ("image: x\nenv: {}\nimage: y", "image: written twice, on lines 1 and 3"),
        ("env:\n  A: 1\n  B: 2\n  A: 3", "env.A: written twice, on lines 2 and 4"),
        ("- a", "expected keys and values, got a list"),
        ("Just prose.", "expected keys and values, got text"),
        ("image: [", "not valid YAML at column"),
        ("image: b: c", "demo.md:1: not valid YAML at column 9: mapping values are not allowed here"),
        ("\timage: x", "not valid YAML"),
        ("image: x\n---\nimage: y", "not valid YAML"),
        ("image: &a x", "anchors and aliases are not used here: '&a'"),
        ("image: *a", "anchors and aliases are not used here: '*a'"),
        ("env: &a {A: x}", "anchors and aliases"),
        ("image: !!python/object/apply:os.system [id]", "tags are not used here"),
        ("image: !!binary aGk=", "tags are not used here"),
        ("image: !mine x", "tags are not used here"),
        ("? [a]\n: b", "a key must be text"),
        ("{" * 30, "not valid YAML"),
        ("a: " + "[" * 400 + "]" * 400, "nested deeper than 16"),
        ('image: "\\UFFFFFFFF"', "out of range"),
        ('image: "\\ud800"', "surrogate"),
        ("image: x\x07", "the character U+0007 is not allowed"),
        ("image: x\0", "has a NUL character"),
        ("image: \ud800", "surrogate"),
        ("#" * 300_000, "larger than 256 KiB"),
        ("%YAML 9.9\n--- {}", "not valid YAML"),
    ],
)
def test_what_is_no_yaml_of_ours_is_refused(text: str, words: str) -> None:
    assert words in str(refused(text))


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    assert refused(bomb).line == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methods: [GET]", "host: is required"),
        ("host: ''", "host: '' is not a host name"),
        ("host: '*'", "'*' is too wide"),
        ("host: '*.com'", "'*.com' is too wide"),
        ("host: https://docs.python.org/3", "Write host: docs.python.org"),
        ("host: a.b, port: 0", "port: must be greater than or equal to 1"),
        ("host: a.b, port: https", "port: expected a whole number, got 'https'"),
        ("host: a.b, scheme: ftp", "scheme: expected 'https' or 'http', got 'ftp'"),
        ("host: a.b, methods: GET", "methods: expected a list, got text"),
        ("host: a.b, methods: []", "methods: an empty list would allow nothing"),
        ("host: a.b, methods: ", "methods: has no value"),
        ("host: a.b, paths: ~", "paths: has no value"),
        ("host: a.b, auth: ", "auth: has no value"),
        ("host: a.b, methods: ['GET /']", "methods[0]: 'GET /' is not a method"),
        ("host: a.b, methods: [CONNECT]", "'CONNECT' is not a method of a route"),
        ("host: a.b, paths: [v1]", "paths[0]: 'v1' must begin with '/'"),
        ("host: a.b, paths: [/a/../b]", "'.' and '..' are not allowed"),
        ("host: a.b, paths: [/a/%2E%2e/b]", "'.' and '..' are not allowed"),
        ("host: a.b, paths: [/a//b]", "more than one way"),
        ("host: a.b, paths: [/a%2fb]", "more than one way"),
        ("host: a.b, paths: [/a%zz]", "more than one way"),
        ("host: a.b, paths: ['/a?b']", "a path has no space"),
        ('host: a.b, paths: ["/a\\nb"]', "a path has no space"),
        ("host: a.b, auth: {scheme: baerer, token_ref: T}", "got 'baerer'\nDid you mean 'bearer'?"),
        ("host: a.b, auth: {scheme: bearer}", "auth.token_ref: is required"),
        ("host: a.b, auth: {scheme: header, token_ref: T}", "auth: scheme 'header' needs header: NAME"),
        ("host: a.b, auth: {scheme: bearer, header: X, token_ref: T}", "auth: scheme 'bearer' takes no header"),
        ("host: a.b, auth: {scheme: bearer, username: u, token_ref: T}", "auth: scheme 'bearer' takes no username"),
        ("host: a.b, auth: {scheme: basic, username: 'u:p', token_ref: T}", "has no ':'"),
        ("host: a.b, auth: {scheme: header, header: Host, token_ref: T}", "cannot be the header of a credential"),
        ("host: a.b, auth: {scheme: header, header: Proxy-Authorization, token_ref: T}", "cannot be the header"),
        ('host: a.b, auth: {scheme: header, header: "X\\r\\nY", token_ref: T}', "cannot be the header"),
        ("host: a.b, auth: {scheme: bearer, token_ref: ../../etc/passwd}", "is neither the name of"),
        ("host: a.b, auth: {scheme: bearer, token_ref: .hidden}", "is neither the name of"),
        ("host: a.b, auth: {scheme: bearer, token_ref: ''}", "is neither the name of"),
        ("host: a.b, scheme: http, auth: {scheme: bearer, token_ref: T}", "never sent over plain http"),
        ("host: a.b, resolve: localhost", "'localhost' is not an address"),
        ("host: a.b, resolve: 169.254.169.254", "never reachable"),
        ("host: a.b, ca: ''", "ca: is empty"),
    ],
)
def test_bad_routes(text: str, words: str) -> None:
    assert words in str(route(text))


@pytest.mark.parametrize(
    "pasted", ["sk-ant-api03-abcdefghijklmnop", "ghp_abcdefghijklmnopqrstuvwx", "hunter2 is my secret", "x" * 65]
)
def test_a_secret_pasted_as_its_name_is_not_repeated(pasted: str) -> None:
    assert pasted not in str(route(f"host: a.b, auth: {{scheme: bearer, token_ref: {pasted}}}"))
    assert pasted not in str(refused(f"agent_provider: {{auth_token: {pasted}}}"))
    assert pasted not in str(route(f"host: a.b, auth: {pasted}"))


def test_good_routes() -> None:
    read = bottle("""
egress:
  routes:
  - {host: Local.Test, port: 8443, resolve: "[::1]:9000", ca: ca.pem}
  - {host: "*.example.com", scheme: http, paths: [/v1, "/files/*.txt"]}
  - {host: a.example, auth: {scheme: basic, username: me, token_ref: my-file.txt}}
""")
    local, suffix, basic = read.egress.routes
    assert local.host == "local.test" and local.resolve == "[::1]:9000"
    assert local.ca == str(Path.cwd() / "ca.pem")
    assert suffix.effective_port == 80 and suffix.paths == ("/v1", "/files/*.txt")
    assert basic.auth and basic.auth.username == "me"


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("ssh://git@example.org/team/widgets.git", "ssh"),
        ("ssh://git@127.0.0.1:2222/srv/w.git", "ssh"),
        ("ssh://git@[::1]:2222/srv/w.git", "ssh"),
        ("git@example.org:team/widgets.git", "ssh"),
        ("https://example.org:8443/team/widgets.git", "https"),
        ("/srv/git/widgets.git", "local"),
        ("file:///srv/git/widgets.git", "local"),
        ("./widgets.git", "local"),
        ("~/widgets.git", "local"),
    ],
)
def test_upstreams(url: str, transport: str) -> None:
    assert bottle(f"git-gate: {{repos: {{w: {{url: '{url}'}}}}}}").git_gate.repos["w"].transport == transport


@pytest.mark.parametrize(
    "url",
    [
        "",
        "widgets",
        "ext::sh -c id",
        "fd::17",
        "http://example.org/w.git",
        "git://example.org/w.git",
        "https://example.org",
        "https://user:pass@example.org/w.git",
        "https://token@example.org/w.git",
        "https://ok.org\\@evil.org/w.git",
        "ssh://git:pw@example.org/w.git",
        "ssh://-oProxyCommand=id/w.git",
        "ssh://-x@example.org/w.git",
        "ssh://git@example.org:0/w.git",
        "-oProxyCommand=id:w.git",
        "git@example.org:-x",
        "git@*.example.org:w.git",
        "ssh://git@169.254.169.254/w.git",
        "file://host/share",
    ],
)
def test_what_git_might_run_or_leak_is_no_upstream(url: str) -> None:
    error = repo(f"url: '{url}'")
    assert error.key == "git-gate.repos.widgets.url"
    assert "pass@" not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("identity: x", "url: is required"),
        ("url: /srv/w.git, ca: x", "username, token_ref and ca are for https, and the URL is local"),
        ("url: /srv/w.git, identity: x", "identity and host_key are for ssh, and the URL is local"),
        ("url: 'git@a.b:w', token_ref: T", "username, token_ref and ca are for https, and the URL is ssh"),
        ("url: 'git@a.b:w', host_key: AAAA", "is not a public host key"),
        ("url: /srv/w.git, max_push: lots", "not a size: 'lots'"),
    ],
)
def test_bad_repositories(text: str, words: str) -> None:
    assert words in str(repo(text))


def test_bad_git_gate() -> None:
    assert "cannot be a repository's alias" in str(refused("git-gate: {repos: {../x: {url: /w}}}"))
    assert "line breaks" in str(refused('git-gate: {user: {name: "a\\nb", email: e}}'))
    assert "git allows no" in str(refused("git-gate: {user: {name: a, email: <e>}}"))


@pytest.mark.parametrize("name", ["a", "a1", "fix-the-bug", "x" * 40])
def test_names(name: str) -> None:
    assert validate_name("bottle", name) == name


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("", ""),
        ("My Bottle", "Try 'my-bottle'."),
        ("-a", "Try 'a'."),
        ("a-", "Try 'a'."),
        ("a\n", "Try 'a'."),
        ("a_b", "Try 'a-b'."),
        ("../../etc", "Try 'etc'."),
        ("x" * 41, f"Try '{'x' * 40}'."),
        ("é", ""),
        ("a\x1b[31m", "Try 'a-31m'."),
    ],
)
def test_bad_names_come_with_a_better_one(name: str, suggested: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate_name("agent", name)
    assert caught.value.hint == suggested
    assert "cannot name an agent" in str(caught.value) and str(caught.value).replace("\n", "").isprintable()
