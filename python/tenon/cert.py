"""Certificates: what a file or a peer shows, in words, and a development authority of one's own."""

import collections

from ._core import _cert_new, _cert_parse

_FIELDS = ("subject", "issuer", "serial", "key", "signature", "usage", "limits", "fingerprint", "pin", "names",
           "begins", "ends", "is_authority", "words")


class Certificate(collections.namedtuple("Certificate", _FIELDS)):
    """What stands in a certificate.

    subject and issuer: CN=localhost, O=Example. fingerprint: SHA-256 of all of it, pin: of its public key, hexadecimal.
    names: whom it is for. begins and ends: seconds since 1970. limits: the hosts that an authority may sign for, or "".
    words: all of it for a person, an item a line.
    """

    __slots__ = ()


def parse(data, name="certificate"):
    """All certificates of a PEM text, in order, or the one of DER: bytes. `name` stands for it in errors. Raises
    FormatError."""
    return [Certificate(**fields) for fields in _cert_parse(data, name)]


def read(file):
    """The same of a file. Raises OSError, FormatError."""
    with open(file, "rb") as opened:
        return parse(opened.read(), str(file))


def new(folder, *hosts, days=90):
    """Makes certificates for development in a folder: an authority (ca.pem, ca.key), a server's for all `hosts`
    (server.pem, server.key) and a client's (client.pem, client.key); nothing is overwritten. Hosts are names, *.names
    and addresses. Raises Error."""
    _cert_new(str(folder), hosts, days)
