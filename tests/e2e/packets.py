"""Packets and capture files made here, byte by byte: what tcpdump and tshark say of them is what they hold."""
import ipaddress
import struct

NULL, ETHERNET, RAW, SLL, SLL2 = 0, 1, 101, 113, 276
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MAC = [bytes.fromhex("020000000001"), bytes.fromhex("020000000002")]


def checksum(data):
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def address(text):
    return ipaddress.ip_address(text).packed


def ip(source, target, protocol, payload, fragment=0, identity=1, extensions=b""):
    """An IP packet; `extensions`: IPv6 headers in front of the payload, the last of which names `protocol`."""
    a, b = address(source), address(target)
    if len(a) == 16:
        first = 0 if extensions else protocol
        return struct.pack(">IHBB", 6 << 28, len(extensions) + len(payload), first, 64) + a + b + extensions + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), identity, fragment, 64, protocol, 0, a, b)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def fragments(packet, size, identity=1):
    """An IP packet cut into pieces of `size` bytes, a multiple of 8."""
    four = packet[0] >> 4 == 4
    data = packet[20 if four else 40:]
    source, target = (str(ipaddress.ip_address(a)) for a in ((packet[12:16], packet[16:20]) if four else
                                                             (packet[8:24], packet[24:40])))
    protocol = packet[9 if four else 6]
    for at in range(0, len(data), size):
        more = at + size < len(data)
        if four:
            yield ip(source, target, protocol, data[at:at + size], fragment=at // 8 | more << 13, identity=identity)
        else:
            head = struct.pack(">BBHI", protocol, 0, at | more, identity)
            yield ip(source, target, 44, head + data[at:at + size])


def pseudo(source, target, protocol, payload):
    a, b = address(source), address(target)
    return a + b + struct.pack(">II" if len(a) == 16 else ">HH", *((len(payload), protocol) if len(a) == 16 else
                                                                    (protocol, len(payload))))


def udp(source, sport, target, dport, payload, **how):
    body = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    body = body[:6] + struct.pack(">H", checksum(pseudo(source, target, 17, body) + body) or 0xffff) + body[8:]
    return ip(source, target, 17, body, **how)


def tcp(source, sport, target, dport, flags, seq, ack, payload=b"", options=b"", window=512, **how):
    options += b"\1" * (-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, (20 + len(options)) << 2, flags, window, 0, 0)
    body = head + options + payload
    body = body[:16] + struct.pack(">H", checksum(pseudo(source, target, 6, body) + body)) + body[18:]
    return ip(source, target, 6, body, **how)


def icmp(source, target, kind, code, rest, six=False):
    body = struct.pack(">BBH", kind, code, 0) + rest
    covered = pseudo(source, target, 58, body) + body if six else body
    body = body[:2] + struct.pack(">H", checksum(covered)) + body[4:]
    return ip(source, target, 58 if six else 1, body)


def arp(operation, sender, target):
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + MAC[0] + address(sender) + b"\0" * 6 + address(target)


def ethernet(payload, kind=None, tags=()):
    kind = kind or (0x0800 if payload[0] >> 4 == 4 else 0x86dd)
    between = b"".join(struct.pack(">HH", 0x8100, tag) for tag in tags)
    return MAC[1] + MAC[0] + between + struct.pack(">H", kind) + payload


def on_link(link, packet):
    """An IP packet as it is captured on any of the links."""
    four = packet[0] >> 4 == 4
    kind = 0x0800 if four else 0x86dd
    return {ETHERNET: lambda: ethernet(packet), RAW: lambda: packet,
            NULL: lambda: struct.pack("<I", 2 if four else 30) + packet,
            SLL: lambda: struct.pack(">HHH6s2xH", 0, 1, 6, MAC[0], kind) + packet,
            SLL2: lambda: struct.pack(">HHIHBB6s2x", kind, 0, 3, 1, 4, 6, MAC[0]) + packet}[link]()


TIMESTAMPS = bytes([1, 1, 8, 10]) + struct.pack(">II", 11, 22)
SYN_OPTIONS = bytes([2, 4, 5, 180, 4, 2, 1, 3, 3, 7]) + TIMESTAMPS[2:]
HOP_BY_HOP = lambda following: bytes([following, 0, 1, 4, 0, 0, 0, 0])  # noqa: E731


def conversation():
    """IP packets of every kind that is taken apart."""
    four, six = ("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8:0:0:1::2")
    for a, b in four, six:
        yield tcp(a, 40000, b, 80, SYN, 100, 0, options=SYN_OPTIONS)
        yield tcp(b, 80, a, 40000, SYN | ACK, 0xfffffff0, 101, options=SYN_OPTIONS)
        yield tcp(a, 40000, b, 80, PSH | ACK, 101, 0xfffffff1, b"GET / HTTP/1.0\r\n\r\n", TIMESTAMPS)
        yield tcp(b, 80, a, 40000, ACK, 0xfffffff1, 119, b"x" * 1000, bytes([1, 1, 5, 10]) + struct.pack(">II", 5, 9))
        yield tcp(a, 40000, b, 80, FIN | ACK, 119, 983)
        yield tcp(b, 80, a, 40000, RST, 983, 0, window=0)
        yield udp(a, 5353, b, 9999, b"hello")
        yield udp(a, 5353, b, 9999, b"")
        yield ip(a, b, 47, b"\0\0\x65\x58" + b"z" * 40)
    yield icmp(*four, 8, 0, struct.pack(">HH", 7, 1) + b"p" * 56)
    yield icmp(*four, 0, 0, struct.pack(">HH", 7, 1) + b"p" * 56)
    yield icmp(*four, 3, 3, b"\0" * 4 + udp("10.0.0.2", 1, "10.0.0.1", 53, b"why")[:28])
    yield icmp(*six, 128, 0, struct.pack(">HH", 7, 1) + b"p" * 56, six=True)
    yield icmp(*six, 135, 0, b"\0" * 4 + address("2001:db8::9") + bytes([1, 1]) + MAC[0], six=True)
    yield tcp(*("2001:db8::1", 40000, "::1", 80), ACK, 1, 2, b"ext", extensions=HOP_BY_HOP(6))
    whole = udp("10.0.0.1", 7000, "10.0.0.2", 7001, b"f" * 2000)[20:]
    yield ip("10.0.0.1", "10.0.0.2", 17, whole[:1480], fragment=0x2000, identity=77)
    yield ip("10.0.0.1", "10.0.0.2", 17, whole[1480:], fragment=1480 // 8, identity=77)


def frames(link):
    """What is captured on a link: the conversation and, on Ethernet, what is no IP and what is tagged."""
    for packet in conversation():
        yield on_link(link, packet)
    if link == ETHERNET:
        yield ethernet(arp(1, "10.0.0.1", "10.0.0.2"), 0x0806)
        yield ethernet(arp(2, "10.0.0.1", "10.0.0.2"), 0x0806)
        yield ethernet(udp("10.0.0.1", 1, "10.0.0.2", 2, b"tag"), tags=[5])
        yield ethernet(tcp("10.0.0.1", 1, "10.0.0.2", 2, ACK, 1, 1, b"two"), tags=[6, 7])
        yield ethernet(b"\2\7\4" + b"\0" * 40, 0x88cc)
        yield ethernet(udp("10.0.0.1", 1, "10.0.0.2", 2, b"pad")) + b"\0" * 15


def pcap(link, packets, order="<", nanoseconds=False, snaplen=262144, start=1_700_000_000):
    """A pcap file: one packet every 1.000001 s."""
    yield struct.pack(order + "IHHiIII", 0xa1b23c4d if nanoseconds else 0xa1b2c3d4, 2, 4, 0, 0, snaplen, link)
    for number, packet in enumerate(packets):
        fraction = number * (1234567 if nanoseconds else 1234)
        kept = packet[:snaplen]
        yield struct.pack(order + "IIII", start + number, fraction, len(kept), len(packet)) + kept


def block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def option(code, value, order="<"):
    return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def pcapng(link, packets, order="<", nanoseconds=False, start=1_700_000_000, snaplen=0):
    yield block(0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1) + option(1, b"a comment", order), order)
    yield block(1, struct.pack(order + "HHI", link, 0, snaplen) + option(2, b"eth7", order) +
                option(9, bytes([9 if nanoseconds else 6]), order) + option(0, b"", order), order)
    for number, packet in enumerate(packets):
        ticks = (start + number) * (10**9 if nanoseconds else 10**6) + number * (1234567 if nanoseconds else 1234)
        yield block(6, struct.pack(order + "IIIII", 0, ticks >> 32, ticks & 0xffffffff, len(packet), len(packet)) +
                    packet +
                    b"\0" * (-len(packet) % 4), order)
