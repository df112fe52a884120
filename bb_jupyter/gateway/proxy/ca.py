"""The bottle's own certificate authority: leaf certificates for intercepted hosts.

The CA's private key is an object in this process and is never written anywhere.  The one key that all leaves share
passes through an anonymous memory file, because `ssl` loads keys from paths only.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CACHED: Final = 256
_CA_DAYS, _LEAF_DAYS = 3650, 397  # leaves of more than 398 days are refused by some TLS stacks


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give bytes a path that only this process can open, for as long as the block runs."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


class LeafAuthority:
    """Makes, and remembers, server-side TLS contexts for intercepted hosts.

    Args:
        label: goes into the CA's name, so that a user can tell whose it is.
    """

    def __init__(self, label: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cert = self._self_signed(_name(f"bottle {label}"))
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    @property
    def cert_pem(self) -> str:
        """The CA's certificate, which the bottle trusts."""
        return self._cert.public_bytes(serialization.Encoding.PEM).decode()

    def _self_signed(self, name: x509.Name) -> x509.Certificate:
        builder = _builder(name, name, self._key.public_key(), _CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return builder.add_extension(_key_usage(ca=True), critical=True).sign(self._key, hashes.SHA256())

    def _leaf(self, host: str) -> x509.Certificate:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _builder(_name(host), self._cert.subject, self._leaf_key.public_key(), _LEAF_DAYS)
            .add_extension(issuer, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def context(self, host: str) -> ssl.SSLContext:
        """Return the server-side context for a canonical host name; HTTP/1.1 is the one protocol it offers."""
        known = self._contexts.get(host)
        if known is not None:
            self._contexts.move_to_end(host)
            return known
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        key = self._leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with _as_file(key + self._leaf(host).public_bytes(serialization.Encoding.PEM)) as path:
            context.load_cert_chain(path)
        self._contexts[host] = context
        if len(self._contexts) > _CACHED:
            self._contexts.popitem(last=False)
        return context
