"""Client hellos of TLS 1.2, TLS 1.3 and DTLS 1.2, byte by byte: what a stranger can send who computes nothing."""
import os
import socket
import struct

GROUPS = {"P-256": 23, "P-384": 24, "P-521": 25, "X25519": 29, "X448": 30, "ffdhe2048": 256, "ffdhe3072": 257,
          "ffdhe4096": 258, "ffdhe6144": 259, "ffdhe8192": 260, "X25519MLKEM768": 4588}

# Points that are on their curves: the generators
POINTS = {
    "P-256": ("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
              "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    "P-384": ("aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
              "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"),
    "P-521": ("00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1d"
              "c127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449"
              "579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650"),
}
SIZES = {"X25519": 32, "X448": 56, "ffdhe2048": 256, "ffdhe3072": 384, "ffdhe4096": 512, "ffdhe6144": 768,
         "ffdhe8192": 1024, "X25519MLKEM768": 1216}
SIGNATURES = struct.pack(">8H", 0x403, 0x503, 0x603, 0x807, 0x808, 0x804, 0x805, 0x806)
SUITES_13 = bytes.fromhex("130113021303")
SUITES_12 = bytes.fromhex("c02bc02fc02cc030cca9cca8ccac")


def share_of(group):
    """What a stranger sends as its half of an exchange."""
    if group in POINTS:
        return b"\4" + bytes.fromhex(POINTS[group])
    return b"\1" + os.urandom(SIZES[group] - 1)


def sized(size, data):
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return struct.pack(">H", kind) + sized(2, data)


def key_shares(*shares):
    return extension(51, sized(2, b"".join(struct.pack(">H", group) + sized(2, data) for group, data in shares)))


def groups(*numbers):
    return extension(10, sized(2, struct.pack(f">{len(numbers)}H", *numbers)))


def identities(count, size):
    """A pre_shared_key extension with so many identities, and a binder for each."""
    names = b"".join(sized(2, b"%0*d" % (size, n)) + bytes(4) for n in range(count))
    return extension(41, sized(2, names) + sized(2, (b"\x20" + bytes(32)) * count))


def body(suites, extensions, cookie=None):
    version = b"\xfe\xfd" if cookie is not None else b"\3\3"
    middle = sized(1, cookie) if cookie is not None else b""
    return version + os.urandom(32) + b"\0" + middle + sized(2, suites) + b"\1\0" + sized(2, extensions)


def message(kind, data):
    return bytes([kind]) + sized(3, data)


def records(data, size=16384):
    return b"".join(b"\x16\3\1" + sized(2, data[i:i + size]) for i in range(0, len(data), size))


VERSION_13 = extension(43, b"\2\3\4")
BASE = extension(13, sized(2, SIGNATURES))


def hello13(group, *more):
    """One key share."""
    number = GROUPS[group]
    return message(1, body(SUITES_13, VERSION_13 + BASE + groups(number) + key_shares((number, share_of(group))) +
                           b"".join(more)))


def hello12(group):
    """The server signs its half at once; the client's half stands right behind, and the server multiplies."""
    hello = message(1, body(SUITES_12, BASE + groups(GROUPS[group], 23)))
    return records(hello) + records(message(16, sized(1, share_of(group))))


def hostile(size):
    """(version, name, bytes): hellos that are dear to read, of about so many bytes."""
    for group in GROUPS:
        yield "1.3", f"one share of {group}", records(hello13(group))
    for group in ("X25519", "X448", "P-256", "P-384", "P-521"):
        yield "1.2", f"an exchange with {group}", hello12(group)
    half, unknown = size // 2, 0x1234
    many = [unknown] + [0x4000 + n for n in range(half // 2 - 2)] + [0x1235]
    shares = key_shares(*((0x1235, b"x") for _ in range(half // 5)))
    yield "1.3", "key shares times groups", records(message(
        1, body(SUITES_13, VERSION_13 + BASE + groups(*many) + shares)))
    yield "1.3", "groups", records(message(1, body(SUITES_13, VERSION_13 + BASE + groups(*([0x4000] * (size // 2))))))
    yield "1.3", "no share that can be used", records(message(
        1, body(SUITES_13, VERSION_13 + BASE + groups(29, 23) + key_shares())))
    for length in (1, 100):
        count = size // (length + 6 + 33)
        yield "1.3", f"{length}-byte identities", records(message(1, body(
            SUITES_13, VERSION_13 + BASE + groups(29) + key_shares((29, share_of("X25519"))) + extension(45, b"\1\1") +
            identities(count, length))))
    for version in ("1.2", "1.3"):
        more = VERSION_13 if version == "1.3" else b""
        rest = more + groups(29, 23) + (key_shares((29, share_of("X25519"))) if more else b"")
        fill = size
        yield version, "ciphers", records(message(1, body(b"\x4a\x4a" * (fill // 2), rest + BASE)))
        yield version, "signatures", records(message(1, body(SUITES_13 + SUITES_12, rest + extension(
            13, sized(2, b"\2\1" * (fill // 2))))))
        yield version, "protocols", records(message(1, body(SUITES_13 + SUITES_12, rest + BASE + extension(
            16, sized(2, b"\1a" * (fill // 2))))))
        yield version, "extensions", records(message(1, body(SUITES_13 + SUITES_12, rest + BASE + b"".join(
            extension(0x5000 + n, b"") for n in range(fill // 4)))))
        yield version, "a byte a record", records(message(1, body(SUITES_13 + SUITES_12, rest + BASE + extension(
            21, bytes(max(1, size // 6 - 300))))), 1)
        yield version, "padding", records(message(
            1, body(SUITES_13 + SUITES_12, rest + BASE + extension(21, bytes(fill)))))
    yield "1.2", "empty records", b"\x16\3\1\0\0" * (size // 5)
    yield "1.2", "alerts", b"\x15\3\1\0\2\1\x64" * (size // 7)
    yield "1.3", "a hello that never ends", records(message(1, bytes(131000)))[:size]


# Datagrams

def dtls_record(number, data, epoch=0):
    return b"\x16\xfe\xfd" + struct.pack(">HHI", epoch, 0, number) + sized(2, data)


def dtls_message(kind, sequence, data, offset=0, part=None):
    part = data if part is None else part
    return (bytes([kind]) + len(data).to_bytes(3, "big") + struct.pack(">H", sequence) + offset.to_bytes(3, "big") +
            sized(3, part))


def dtls_body(group, cookie, random):
    extensions = BASE + groups(GROUPS[group], 23)
    return b"\xfe\xfd" + random + b"\0" + sized(1, cookie) + sized(2, SUITES_12) + b"\1\0" + sized(2, extensions)


def dtls_hello(group, random=None):
    return dtls_record(0, dtls_message(1, 0, dtls_body(group, b"", random or os.urandom(32))))


def dtls_knock(address, group):
    """A client that shows its address and sends its half of an exchange at once: server's work of a handshake."""
    random = os.urandom(32)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    sock.connect(address)
    sock.send(dtls_hello(group, random))
    asked = sock.recv(2000)
    cookie = asked[13 + 12 + 3:13 + 12 + 3 + asked[13 + 12 + 2]]
    sock.send(dtls_record(1, dtls_message(1, 1, dtls_body(group, cookie, random))) +
              dtls_record(2, dtls_message(16, 2, sized(1, share_of(group)))))
    return sock
