"""P1, around the gateway: there is no route out of the bottle beside the gateway."""

from __future__ import annotations

from bb_jupyter.selftest.probe import Attempt, Probe, promise

#: Where clouds keep their instances' credentials: AWS and most others, AWS over IPv6, Alibaba Cloud, Azure.
METADATA = ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
#: The bottle's own.
LOOPBACK = ("127.0.0.1", "::1")
#: Addresses reserved for documentation (RFC 5737, RFC 3849), for the internet; and usual gateways of private networks.
_ELSEWHERE = ("198.51.100.1", "2001:db8::1", "10.0.0.1", "172.17.0.1", "192.168.0.1", "192.168.65.1")
#: Docker's API without and with TLS, and its swarm's.
_ENGINE_PORTS = (2375, 2376, 2377)
#: Docker's own resolver, then any other.
_RESOLVERS = ("127.0.0.11", "127.0.0.53", "198.51.100.53")
_HOST_NAMES = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")


@promise("P1")
def raw_sockets(probe: Probe) -> str:
    """A program that ignores the proxy and connects directly reaches no address of this host.

    Broken elsewhere: CVE-2025-9074 (a container reached the engine); an internal network whose bridge address was the
    host, services on 0.0.0.0 included; agentsh #343 (an agent that clears the proxy variables).
    """
    port = probe.canary.port
    return probe.blocked([Attempt("tcp", address, port, (probe.hello,)) for address in probe.canary.addresses])


@promise("P1")
def datagrams(probe: Probe) -> str:
    """No UDP and no ping reaches an address of this host.

    Broken elsewhere: proxies for TCP alone, beside which UDP, and data in pings, went out.
    """
    words, echo = probe.hello, b"\x08\0\xf7\xfd\0\1\0\1" + probe.canary.token.encode()
    attempts = [Attempt("udp", address, probe.canary.port, (words,), 1.0) for address in probe.canary.addresses]
    hosts = [address for address in probe.canary.addresses if address not in LOOPBACK]
    return probe.blocked(attempts + [Attempt("icmp", address, 0, (echo,), 1.0) for address in hosts])


@promise("P1")
def other_families(probe: Probe) -> str:
    """Other sockets than TCP/IP do not lead out either: abstract Unix, hypervisor and raw link-level sockets.

    Broken elsewhere: CVE-2020-15257 (containerd's abstract socket, open to containers in the host's network);
    AF_VSOCK is outside network namespaces, and Docker's seccomp filter allowed it before 23.0.
    """
    attempts = [Attempt("vsock", "hypervisor", 1, (probe.hello,), 1.0), Attempt("packet", "lo")]
    if probe.canary.abstract:
        attempts.append(Attempt("unix", probe.canary.abstract, 0, (probe.hello,), 1.0))
    return probe.blocked(attempts)


@promise("P1")
def other_places(probe: Probe) -> str:
    """The internet, private networks, cloud metadata and engine APIs cannot be reached.

    Broken elsewhere: CVE-2025-9074 (engine API at the bridge); metadata services reached from build containers.
    """
    outside = [Attempt("tcp", address, 80, (probe.hello,), 1.0) for address in (*_ELSEWHERE, *METADATA)]
    outside += [Attempt("udp", address, 53, (probe.hello,), 1.0) for address in (*_ELSEWHERE, *METADATA)]
    # On its own loopback a bottle may serve anything.
    hosts = [host for host in dict.fromkeys((*probe.canary.addresses, "172.17.0.1")) if host not in LOOPBACK]
    engines = [Attempt("tcp", host, port, (probe.hello,), 1.0) for host in hosts for port in _ENGINE_PORTS]
    return probe.blocked(outside + engines)


@promise("P1")
def name_lookups(probe: Probe) -> str:
    """No name is resolved, and no resolver is reached, whatever the engine's version.

    Broken elsewhere: CVE-2024-29018 (an internal network forwarded queries to the host's resolver); OpenShell #1169.
    """
    query = _dns_query(f"{probe.canary.token}.invalid")
    names = [Attempt("name", name) for name in (f"{probe.canary.token}.invalid", *_HOST_NAMES)]
    resolvers = dict.fromkeys((*_RESOLVERS, *_configured_resolvers(probe)))
    udp = [Attempt("udp", address, 53, (query,), 1.0) for address in resolvers]
    tcp = [Attempt("tcp", address, 53, (len(query).to_bytes(2, "big") + query,), 1.0) for address in resolvers]
    return probe.blocked(names + udp + tcp)


def _configured_resolvers(probe: Probe) -> list[str]:
    lines = probe.text("cat /etc/resolv.conf").splitlines()
    return [words[1] for words in map(str.split, lines) if words[:1] == ["nameserver"] and len(words) > 1][:3]


def _dns_query(name: str) -> bytes:
    """Return a query for an address (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x2a\x2a\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
