"""tenon capture: what tcpdump and tshark say of the same packets; messages out of streams; files that are damaged."""
import contextlib
import fcntl
import json
import os
import random
import re
import signal
import socket
import ssl
import struct
import subprocess
import termios
import threading
import zlib

import cbor2
import pytest

import harness
import packets
import system
from packets import ACK, FIN, PSH, SYN

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)

FAILED, USAGE, REFUSED = 1, 2, 4
LINKS = {"ethernet": packets.ETHERNET, "raw": packets.RAW, "null": packets.NULL, "sll": packets.SLL,
         "sll2": packets.SLL2}


@pytest.fixture
def libpcap():
    text = subprocess.run([harness.COMMAND, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    if "capture: libpcap version" not in text:
        pytest.skip("no libpcap here")


def write(path, pieces):
    path.write_bytes(b"".join(pieces))
    return path


def packets_of(tenon, path, *args):
    return [json.loads(line) for line in tenon.run("capture", "--read", path, "--json", *args).lines]


def tcpdump_of(tenon, program, path, *args):
    done = tenon.finish([program("tcpdump"), "-n", "-tt", "-S", "-r", path, *args])
    return [line for line in done.lines if not line.startswith("\t")]


def tshark_of(tenon, program, path, fields, *args):
    done = tenon.finish([program("tshark"), "-n", "-r", path, "-o", "tcp.relative_sequence_numbers:false", "-o",
                         "ip.defragment:false", "-T", "fields", "-E", "occurrence=f", *args,
                         *[arg for field in fields for arg in ("-e", field)]], limit=3 * harness.LIMIT)
    return [line.split("\t") for line in done.text.split("\n")[:-1]]


def place(text, port):
    """An address as tcpdump writes it, with the port behind a dot, as we do."""
    if port is None:
        return text
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


# The same packets as others see them

@pytest.mark.parametrize("link", LINKS)
def test_each_packet_as_tcpdump_sees_it(tenon, tmp_path, program, link):
    path = write(tmp_path / "a.pcap", packets.pcap(LINKS[link], packets.frames(LINKS[link])))
    ours, theirs = packets_of(tenon, path), tcpdump_of(tenon, program, path)
    assert len(ours) == len(theirs) == len(list(packets.frames(LINKS[link])))
    compared = 0
    for mine, line in zip(ours, theirs):
        seconds = re.match(r"(\d+)\.(\d{6}) ", line)
        assert mine["time"].endswith(f".{seconds[2]}000Z")
        found = re.search(r" IP6? (\S+?)(?:\.(\d+))? > (\S+?)(?:\.(\d+))?: (?:HBH )?Flags \[(.*?)\],(.*) length (\d+)",
                          line)
        if not found or "ports" in mine:
            continue
        source, sport, target, dport, flags, rest, length = found.groups()
        assert (mine["source"], mine["destination"]) == (place(source, sport), place(target, dport)), line
        assert set(mine["flags"].replace("A", ".")) == set(flags), line
        assert mine["payload"] == int(length), line
        if seq := re.search(r" seq (\d+)", rest):
            assert mine["seq"] == int(seq[1]), line
        if ack := re.search(r" ack (\d+)", rest):
            assert mine["ack"] == int(ack[1]), line
        assert mine["window"] == int(re.search(r" win (\d+)", rest)[1]), line
        assert mine.get("mss") == ((m := re.search(r"mss (\d+)", rest)) and int(m[1])), line
        assert mine.get("timestamp") == ((m := re.search(r"TS val (\d+)", rest)) and int(m[1])), line
        compared += 1
    assert compared == (13 if link == "ethernet" else 12)


@pytest.mark.parametrize("link", LINKS)
def test_each_packet_as_tshark_sees_it(tenon, tmp_path, program, link):
    path = write(tmp_path / "a.pcap", packets.pcap(LINKS[link], packets.frames(LINKS[link])))
    fields = ["frame.len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
              "tcp.seq", "tcp.ack", "tcp.len", "udp.srcport", "udp.dstport", "udp.length", "ip.id", "ip.frag_offset",
              "icmp.type", "icmpv6.type", "ip.ttl", "vlan.id", "arp.opcode", "tcp.window_size_value"]
    ours, theirs = packets_of(tenon, path), tshark_of(tenon, program, path, fields)
    assert len(ours) == len(theirs)
    letters = dict(zip("FSRPAU", (1, 2, 4, 8, 16, 32)))
    for mine, line in zip(ours, theirs):
        theirs = dict(zip(fields, line))

        def number(field):
            return int(theirs[field], 0) if theirs[field] else None
        assert mine["length"] == number("frame.len")
        source, target = theirs["ip.src"] or theirs["ipv6.src"], theirs["ip.dst"] or theirs["ipv6.dst"]
        kind = "tcp" if mine["protocol"] == "tcp" and "flags" in mine else "udp" if mine["protocol"] == "udp" else None
        if kind and source and not mine.get("fragment", {}).get("at"):
            sport, dport = number(f"{kind}.srcport"), number(f"{kind}.dstport")
            assert (mine["source"], mine["destination"]) == (place(source, sport), place(target, dport))
        elif source:
            assert (mine["source"], mine["destination"]) == (source, target)
        if kind == "tcp":
            assert sum(letters[flag] for flag in mine["flags"]) == number("tcp.flags")
            assert (mine["seq"], mine["payload"], mine["window"]) == \
                (number("tcp.seq"), number("tcp.len"), number("tcp.window_size_value"))
            assert mine["ack"] == number("tcp.ack") or not mine["flags"].count("A")
        elif kind == "udp" and "fragment" not in mine:
            assert mine["payload"] == number("udp.length") - 8
        if mine["protocol"] in ("icmp", "icmp6"):
            assert mine["type"] == number("icmp.type" if mine["protocol"] == "icmp" else "icmpv6.type")
        if "fragment" in mine:
            assert (mine["fragment"]["id"], mine["fragment"]["at"]) == (77, 0 if mine["fragment"]["more"] else 1480)
        assert mine.get("vlan", [None])[0] == number("vlan.id")
        assert mine.get("operation") == number("arp.opcode")
        assert not {"bad", "cut"} & set(mine), mine


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_every_kind_of_file_says_the_same(tenon, tmp_path, program, kind, order, nanoseconds):
    make = {"pcap": packets.pcap, "pcapng": packets.pcapng}[kind]
    path = write(tmp_path / "a", make(packets.ETHERNET, packets.frames(packets.ETHERNET), order, nanoseconds))
    ours = packets_of(tenon, path)
    theirs = tshark_of(tenon, program, path, ["frame.time_epoch", "frame.len"])
    assert len(ours) == len(theirs) == 32
    for mine, (time, length) in zip(ours, theirs):
        assert mine["length"] == int(length)
        assert mine["time"].split(".")[1] == time.split(".")[1] + "Z"
        assert mine.get("interface") == ("eth7" if kind == "pcapng" else None)
    lines = tenon.run("capture", "--read", path, env={"TZ": "UTC"}).lines
    assert len(lines) == 32
    assert re.match(r"22:13:20\.0{9} " if nanoseconds else r"22:13:20\.0{6} ", lines[0]), lines[0]
    # The same through a pipe, which comes in pieces
    assert tenon.run("capture", "--read", "-", input=path.read_bytes(), env={"TZ": "UTC"}).lines == lines


def test_lines_and_hex(tenon, tmp_path):
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, packets.frames(packets.ETHERNET)))
    text = tenon.run("capture", "--read", path, "-x", env={"TZ": "UTC"}).text
    for said in ("22:13:20.000000 ethernet tcp 10.0.0.1:40000 > 10.0.0.2:80 S seq 100 win 512 len 0 mss 1460 sackok ws "
                 "7 ts 11:22",
                 "icmp 10.0.0.1 > 10.0.0.2 echo request id 7 seq 1 len 64",
                 "icmp 10.0.0.1 > 10.0.0.2 port unreachable (udp 10.0.0.2:1 > 10.0.0.1:53) len 36",
                 "icmp6 2001:db8::1 > 2001:db8::1:0:0:2 neighbour solicitation 2001:db8::9 len",
                 "tcp [2001:db8::1]:40000 > [::1]:80 hop-by-hop A seq 1 ack 2 win 512 len 3",
                 "udp 10.0.0.1 > 10.0.0.2 fragment id 77 at 1480 len 528",
                 "arp who has 10.0.0.2 tell 10.0.0.1", "arp 10.0.0.1 is at 02:00:00:00:00:01",
                 "ethernet vlan 6 vlan 7 tcp", "lldp 02:00:00:00:00:01 > 02:00:00:00:00:02 len 43",
                 "gre 10.0.0.1 > 10.0.0.2 len 44", "  0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00 45 00  "
                                                   "..............E."):
        assert said in text, said
    verbose = tenon.run("capture", "--read", path, "-v", "--count", 1).text
    assert "| frame 74 from 02:00:00:00:00:01 to 02:00:00:00:00:02 ttl 64" in verbose


def test_snapped_packets(tenon, tmp_path, program):
    for snaplen in (13, 20, 40, 60, 70):
        path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, packets.frames(packets.ETHERNET),
                                                       snaplen=snaplen))
        ours = packets_of(tenon, path)
        assert len(ours) == len(tcpdump_of(tenon, program, path)) == 32
        for mine in ours:
            assert mine["captured"] == min(snaplen, mine["length"]) and "bad" not in mine
            assert ("cut" in mine) or snaplen > 20 or mine["protocol"] == "lldp", mine


# Filters

@pytest.mark.parametrize("text", ["tcp", "udp port 9999", "icmp or icmp6", "ip6", "host 10.0.0.2 and not tcp", "vlan",
                                  "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "less 60", "arp"])
def test_filters_of_files_as_in_tcpdump(tenon, tmp_path, program, libpcap, text):
    path = write(tmp_path / "a.pcapng", packets.pcapng(packets.ETHERNET, packets.frames(packets.ETHERNET)))
    ours, theirs = tenon.run("capture", "--read", path, *text.split()).lines, tcpdump_of(tenon, program, path, text)
    assert len(ours) == len(theirs) > 0


@pytest.mark.parametrize("text", ["tcp", "udp port 9999", "ip6", "host 10.0.0.2 and not tcp"])
@pytest.mark.parametrize("link", LINKS)
def test_filters_of_every_link_as_in_tcpdump(tenon, tmp_path, program, libpcap, link, text):
    path = write(tmp_path / "a.pcapng", packets.pcapng(LINKS[link], packets.frames(LINKS[link])))
    ours, theirs = tenon.run("capture", "--read", path, *text.split()).lines, tcpdump_of(tenon, program, path, text)
    assert len(ours) == len(theirs) > 0


@pytest.mark.parametrize("text, at", [("tcp prot 80", 4), ("tcp and", 7), ("(tcp or udp", 11),
                                      ("port nosuchservice", 5), ("tcp[13 == 2", 7), ("host 1.2.3.4 or or udp", 16)])
def test_bad_filters(tenon, tmp_path, libpcap, text, at):
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, []))
    said = tenon.run("capture", "--read", path, text, status=USAGE).err
    assert re.search(rf"filter: .*(syntax error|unknown port|illegal).* \(byte {at}: ", said), said


@pytest.mark.parametrize("url, wanted", [
    ("tcp://10.0.0.2:80", 6), ("tcp://10.0.0.1:80", 0), ("tcp4://*:80", 6), ("tcp6://*:80", 6),
    ("udp://10.0.0.2:9999", 2), ("udp://[2001:db8::1]:5353", 2), ("tls://10.0.0.2:80", 6)])
def test_endpoint_is_a_filter(tenon, tmp_path, libpcap, url, wanted):
    frames = [frame for frame in packets.frames(packets.ETHERNET) if b"ext" not in frame]
    if url == "tcp://10.0.0.1:80":
        wanted = 6  # a host is either end
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, frames))
    assert len(tenon.run("capture", "--read", path, "--endpoint", url).lines) == wanted


@pytest.mark.parametrize("args, said", [
    (["--endpoint", "unix:/run/x"], "Unix sockets"), (["--endpoint", "tcp://localhost:1?fram=u32"], "frame"),
    (["--frame", "line"], "--follow"), (["--follow", "--frame", "lime"], "line"),
    (["--follow", "--format", "jsn"], "json"), (["--follow", "-x"], "which of the two"),
    (["--follow", "--endpoint", "tls://localhost:1"], "encrypted"),
    (["--follow", "--endpoint", "TLS+MPTCP://localhost:1"], "encrypted"),
    (["--follow", "--endpoint", "Dtls://localhost:1"], "encrypted"), (["--keylog", "x"], "--write"),
    (["--snaplen", "0"], "range"), (["--memory", "1"], "range"), (["--iface", "lo"], "which"),
    (["--direction", "inn"], "neither 'in' nor 'out'"), (["--direction", "in"], "inbound"),
    (["--list"], "--list captures nothing"), (["--rotate", "1MiB"], "--write FILE"),
    (["--rotate", "soon", "--write", "a"], "neither a size (100MiB) nor a duration (1h)"),
    (["--rotate", "1", "--write", "a"], "4KiB"), (["--keep", "2", "--write", "a"], "--rotate"),
    (["--compress"], "--write FILE"), (["--rotate", "1h", "--write", "-"], "one file"),
    (["--process", "any"], "is for interfaces"), (["--time", "Epoch"], "none of local, date, utc, epoch"),
    (["--time", "utc", "--json"], "is for lines"),
    (["--write", "a.pcap", "--comment", "x"], ".pcapng")])
def test_bad_usage(tenon, tmp_path, args, said):
    path = write(tmp_path / "in.pcap", packets.pcap(packets.ETHERNET, []))
    assert said in tenon.run("capture", "--read", path, *args, status=USAGE, cwd=tmp_path).err


def test_a_file_is_not_written_over_itself(tenon, tmp_path):
    path = write(tmp_path / "in.pcap", packets.pcap(packets.ETHERNET, packets.frames(packets.ETHERNET)))
    before = path.read_bytes()
    assert "over" in tenon.run("capture", "--read", path, "--write", path, status=USAGE).err
    assert path.read_bytes() == before
    assert "no-such" in tenon.run("capture", "--read", tmp_path / "no-such", status=FAILED).err


# Writing

def test_written_files_are_what_was_read(tenon, tmp_path, program):
    path = write(tmp_path / "a.pcapng", packets.pcapng(packets.ETHERNET, packets.frames(packets.ETHERNET), ">", True))
    wanted = tshark_of(tenon, program, path, ["frame.time_epoch", "frame.len", "frame.protocols"])
    for name in ("b.pcapng", "b.pcap"):
        assert tenon.run("capture", "--read", path, "--write", tmp_path / name).out == b""
        assert tshark_of(tenon, program, tmp_path / name,
                         ["frame.time_epoch", "frame.len", "frame.protocols"]) == wanted
        assert packets_of(tenon, tmp_path / name, "-x") == [
            {key: value for key, value in packet.items() if key != "interface" or name == "b.pcapng"}
            for packet in packets_of(tenon, path, "-x")]
    assert b"a comment" in (tmp_path / "b.pcapng").read_bytes()
    out = tenon.run("capture", "--read", path, "--write", "-").out
    assert out == (tmp_path / "b.pcapng").read_bytes()
    few = tenon.run("capture", "--read", path, "--write", tmp_path / "c.pcapng", "--count", 3, "--snaplen", 30,
                    "--print")
    assert len(few.lines) == 3
    assert [packet["captured"] for packet in packets_of(tenon, tmp_path / "c.pcapng")] == [30, 30, 30]


def test_comments_and_counts(tenon, tmp_path, program):
    def pieces():
        whole = list(packets.pcapng(packets.ETHERNET,
                                    [packets.ethernet(packets.udp("10.0.0.1", 1, "10.0.0.2", 2, b"x"))]))
        yield from whole
        frame = packets.ethernet(packets.udp("10.0.0.1", 1, "10.0.0.2", 2, b"y"))
        yield packets.block(6, struct.pack("<IIIII", 0, 0, 0, len(frame), len(frame)) + frame +
                            b"\0" * (-len(frame) % 4) +
                            packets.option(1, "it was h\u00e9re\x1b".encode()) + packets.option(0, b""))
        yield packets.block(5, struct.pack("<III", 0, 0, 0) + packets.option(4, struct.pack("<Q", 99)) +
                            packets.option(5, struct.pack("<Q", 7)) + packets.option(0, b""))
    path = write(tmp_path / "a.pcapng", pieces())
    done = tenon.run("capture", "--read", path)
    assert done.lines[1].endswith("# it was h\u00e9re\\x1b")
    assert "7 were dropped" in done.err
    assert packets_of(tenon, path)[1]["comment"] == "it was h\u00e9re\x1b"
    again = tmp_path / "b.pcapng"
    assert "7 were dropped" in tenon.run("capture", "--read", path, "--write", again, "--comment", "mine").err
    assert "7 were dropped" in tenon.run("capture", "--read", again).err
    assert b"mine" in again.read_bytes() and b"a comment" not in again.read_bytes()
    [[comment]] = tshark_of(tenon, program, again, ["frame.comment"], "-Y", "frame.comment")
    assert "it was h" in comment


# Damage

def damaged_files():
    frames = list(packets.frames(packets.ETHERNET))[:5]
    plain, blocks = list(packets.pcap(packets.ETHERNET, frames)), list(packets.pcapng(packets.ETHERNET, frames))
    upto = len(b"".join(plain[:4]))
    ngto = len(b"".join(blocks[:5]))
    yield "cut in a header", b"".join(plain[:4]) + plain[4][:7], 3, upto + 7
    yield "cut in a packet", b"".join(plain[:4]) + plain[4][:30], 3, upto + 30
    yield "huge", b"".join(plain[:4]) + struct.pack("<IIII", 1, 1, 0x7fffffff, 60) + b"x" * 500, 3, upto + 8
    yield "pcapng cut", b"".join(blocks[:5]) + blocks[5][:-1], 3, ngto + len(blocks[5]) - 1
    yield "pcapng of no length", b"".join(blocks[:5]) + struct.pack("<II", 6, 0) + b"\0" * 100, 3, ngto + 4
    yield "pcapng huge", b"".join(blocks[:5]) + struct.pack("<II", 6, 0x70000000) + b"\0" * 100, 3, ngto + 4
    yield "pcapng ends differ", b"".join(blocks[:5]) + blocks[5][:-4] + b"\1\0\0\0", 3, ngto + len(blocks[5]) - 4
    yield "pcapng interface", b"".join(blocks[:5]) + blocks[5][:8] + b"\7\0\0\0" + blocks[5][12:], 3, ngto + 8
    yield "pcapng packet", b"".join(blocks[:5]) + blocks[5][:20] + b"\xff\xff\0\0" + blocks[5][24:], 3, ngto + 20
    yield "pcapng option", b"".join(blocks[:5]) + packets.block(
        6, struct.pack("<IIIII", 0, 0, 0, 4, 4) + b"abcd" + struct.pack("<HH", 1, 5000)), 4, ngto + 32
    yield "no capture", b"this is text\n" * 10, 0, 0
    yield "compressed", b"\x1f\x8b\x08" + b"\0" * 20, 0, 0
    yield "empty", b"", 0, 0
    yield "three bytes", b"\xd4\xc3\xb2", 0, 3


@pytest.mark.parametrize("data, lines, at", [case[1:] for case in damaged_files()],
                         ids=[case[0] for case in damaged_files()])
def test_damaged_files(tenon, tmp_path, data, lines, at):
    path = tmp_path / "a.pcap"
    path.write_bytes(data)
    for args in ([], ["--json"]):
        done = tenon.run("capture", "--read", path, *args, status=REFUSED)
        assert len(done.lines) == lines
        assert [int(found) for found in re.findall(r"a\.pcap: byte (\d+): ", done.err)] == [at], done.err
    done = tenon.run("capture", "--read", path, "--follow", status=REFUSED)
    assert f"byte {at}: " in done.err
    again = tmp_path / "b.pcapng"
    tenon.run("capture", "--read", path, "--write", again, status=REFUSED)
    if lines:
        assert len(packets_of(tenon, again)) == lines


def test_names_in_a_file_do_not_reach_the_terminal_raw(tenon, tmp_path):
    pieces = list(packets.pcapng(packets.ETHERNET, [packets.ethernet(packets.udp("10.0.0.1", 1, "10.0.0.2", 2, b"x"))]))
    pieces[1] = packets.block(1, struct.pack("<HHI", 1, 0, 0) + packets.option(2, b"e\x1b[31m\n" + b"x" * 500))
    [line] = tenon.run("capture", "--read", write(tmp_path / "a", pieces)).lines
    assert "\x1b" not in line and "e?[31m?xxx" in line and len(line) < 200


# Messages

class Talk:
    """A TCP connection between a client and a server, as packets."""

    def __init__(self, first=0xfffffff0):
        self.ends = {"c": ("10.0.0.1", 40000), "s": ("10.0.0.2", 7000)}
        self.start, self.next = {"c": first, "s": 5000}, {"c": first, "s": 5000}
        self.acknowledges, self.packets = True, []
        self.put("c", SYN, -1)
        self.put("s", SYN | ACK, -1)
        self.put("c", ACK, 0)

    def put(self, who, flags, at, data=b""):
        """A segment of these bytes at `at` of the stream."""
        other = "s" if who == "c" else "c"
        seq = (self.start[who] + at) & 0xffffffff
        ack = self.next[other] if self.acknowledges else self.start[other]
        self.packets.append(packets.ethernet(packets.tcp(*self.ends[who], *self.ends[other], flags, seq, ack, data)))
        end = (self.start[who] + at + len(data)) & 0xffffffff
        if (end - self.next[who]) & 0xffffffff < 1 << 31:
            self.next[who] = end

    def finish(self, lengths):
        for who in "cs":
            self.put(who, FIN | ACK, lengths[who])


def follow(tenon, tmp_path, frames, *args, status=0):
    path = write(tmp_path / "talk.pcap", packets.pcap(packets.ETHERNET, frames))
    done = tenon.run("capture", "--read", path, "--follow", "--json", *args, status=status)
    return [json.loads(line) for line in done.lines], done


def test_messages_whatever_their_segments(tenon, tmp_path):
    asked = b"".join(json.dumps({"ask": n, "pad": "x" * n}).encode() + b"\n" for n in range(60))
    told = b"".join(json.dumps({"tell": n}).encode() + b"\n" for n in range(60))
    talk = Talk()
    talk.acknowledges = False  # or what comes late is given up as missing
    pieces = [("c", at, asked[at:at + 37]) for at in range(0, len(asked), 37)]
    pieces += [("s", at, told[at:at + 100]) for at in range(0, len(told), 100)]
    pieces += pieces[::3]                                              # retransmitted
    pieces += [("c", at, asked[at:at + 90]) for at in range(0, len(asked), 200)]  # overlapping
    random.Random(5).shuffle(pieces)                                   # out of order
    for who, at, data in pieces:
        talk.put(who, ACK | PSH, at, data)
    talk.finish({"c": len(asked), "s": len(told)})
    got, done = follow(tenon, tmp_path, talk.packets, "--frame", "line", "--format", "json")
    values = {side: [m["value"] for m in got if m.get("from") == side and "value" in m]
              for side in ("client", "server")}
    assert [value["ask"] for value in values["client"]] == list(range(60))
    assert [value["tell"] for value in values["server"]] == list(range(60))
    assert not [m for m in got if "event" in m]
    assert "out of order" in done.err and "retransmitted" in done.err


def test_every_frame_and_format(tenon, tmp_path):
    values = [{"n": n, "list": [1, 2, "three"]} for n in range(20)]
    for frame, form, wrap in (("u32", "cbor", lambda v: (lambda b: struct.pack(">I", len(b)) + b)(cbor2.dumps(v))),
                              ("cbor", "cbor", cbor2.dumps),
                              ("line", "json", lambda v: json.dumps(v).encode() + b"\n"),
                              ("netstring", "json",
                               lambda v: (lambda b: b"%d:%s," % (len(b), b))(json.dumps(v).encode()))):
        stream, talk = b"".join(map(wrap, values)), Talk()
        for at in range(0, len(stream), 11):
            talk.put("c", ACK, at, stream[at:at + 11])
        talk.finish({"c": len(stream), "s": 0})
        got, _ = follow(tenon, tmp_path, talk.packets, "--frame", frame, "--format", form)
        assert [m["value"] for m in got] == values
        assert all(m["source"] == "10.0.0.1:40000" and m["stream"] == 1 and m["from"] == "client" for m in got)


def test_websocket(tenon, tmp_path):
    """Both sides from their heads on, masked and not, compressed and not, in pieces, to what their Close says."""
    def masked(first, data):
        hidden = bytes(b ^ (1, 2, 3, 4)[i & 3] for i, b in enumerate(data))
        return bytes([first, 0x80 | len(data)]) + b"\1\2\3\4" + hidden
    asked = (b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n" + masked(0x81, b'{"op":1}') +
             masked(0x01, b'{"op"') + masked(0x89, b"ping") + masked(0x80, b":2}") + masked(0x82, b"\0\xff") +
             masked(0x88, b"\x0f\xa1en\nough"))
    press = zlib.compressobj(wbits=-15)
    packed = (press.compress(b'{"told":1}') + press.flush(zlib.Z_SYNC_FLUSH))[:-4]
    told = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n" + bytes([0xc1, len(packed)]) + packed +
            b"\x8a\4ping\x88\0")
    talk = Talk()
    for who, data in (("c", asked), ("s", told)):
        for at in range(0, len(data), 9):
            talk.put(who, ACK | PSH, at, data[at:at + 9])
    talk.finish({"c": len(asked), "s": len(told)})
    got, _ = follow(tenon, tmp_path, talk.packets, "--endpoint", "ws://10.0.0.2:7000/chat")
    seen = [(m["from"], m.get("kind"), m.get("data"), m.get("event"), m.get("code"), m.get("reason")) for m in got]
    assert sorted(seen, key=lambda m: m[0]) == [
        ("client", "text", '{"op":1}', None, None, None), ("client", "text", '{"op":2}', None, None, None),
        ("client", "binary", "\0\ufffd", None, None, None), ("client", None, None, "closing", 4001, "en\nough"),
        ("server", "text", '{"told":1}', None, None, None), ("server", None, None, "closing", 1005, "")]
    lines = tenon.run("capture", "--read", tmp_path / "talk.pcap", "--follow", "--endpoint",
                      "ws://10.0.0.2:7000/chat").text
    for line in (' text {"op":2}', r" binary \x00\xff", r" -- closes with 4001: en\nough"):
        assert line + "\n" in lines
    # What is refused, and a format
    talk = Talk()
    talk.put("s", ACK, 0, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    got, _ = follow(tenon, tmp_path, talk.packets, "--endpoint", "ws://10.0.0.2:7000/chat", status=REFUSED)
    assert got[0]["event"] == "broken" and "403 Forbidden" in got[0]["error"]
    talk = Talk()
    talk.put("c", ACK, 0, asked)
    got, _ = follow(tenon, tmp_path, talk.packets, "--endpoint", "ws://10.0.0.2:7000/chat?format=json", status=REFUSED)
    assert [m.get("value") for m in got[:2]] == [{"op": 1}, {"op": 2}] and "error" in got[2]


def test_what_is_missing_is_said_where_it_was(tenon, tmp_path):
    stream = b"".join(b'{"n":%03d}\n' % n for n in range(100, 200))
    talk = Talk()
    for at in range(0, len(stream), 50):
        if at not in (500, 550):
            talk.put("s", ACK, at, stream[at:at + 50])
            talk.put("c", ACK, 0)
    talk.finish({"c": 0, "s": len(stream)})
    got, done = follow(tenon, tmp_path, talk.packets, "--frame", "line", "--format", "json")
    where = [m.get("event") for m in got].index("missing")
    assert got[where]["bytes"] == 100 and got[where]["from"] == "server"
    assert "100 bytes missing" in done.err
    before, after = [m["value"]["n"] for m in got[:where]], [m["value"]["n"] for m in got[where + 1:]]
    assert before == list(range(100, 100 + len(before))) and len(before) == 50
    assert after == list(range(200 - len(after), 200)) and len(after) >= 38
    # A frame that cannot be found again: the rest as it came
    got, _ = follow(tenon, tmp_path, talk.packets, "--frame", "u8")
    assert "unframed" in [m.get("event") for m in got]
    plain = tenon.run("capture", "--read", tmp_path / "talk.pcap", "--follow", "--frame", "line").text
    assert "-- 100 bytes are missing from the capture" in plain


@pytest.mark.parametrize("side, name", [("c", "client"), ("s", "server")])
@pytest.mark.parametrize("frame, stream, hole, before, after", [
    # In the midst of one message: neither of its halves is told, nor are they glued together
    ("line", b"one\ntwo-halves\nthree\nfour\n", (6, 9), ["one"], ["three", "four"]),
    ("line", b"one\ntwo-halves\nthree\nfour\n", (4, 6), ["one"], ["three", "four"]),
    # From one into another, and with the end of one: what follows is no beginning
    ("line", b"one\ntwo\nthree\nfour\n", (5, 10), ["one"], ["four"]),
    ("line", b"one\ntwo\nthree\nfour\n", (7, 8), ["one"], ["four"]),
    ("nul", b"one\0two-halves\0three\0", (6, 9), ["one"], ["three"]),
    # Where nothing marks an end, the rest is shown as it came
    ("u8", b"\3one\12two-halves\5three", (7, 10), ["one"], ["alves\5three"]),
    ("netstring", b"3:one,10:two-halves,5:three,", (9, 13), ["one"], ["halves,5:three,"])])
def test_a_hole_inside_a_message(tenon, tmp_path, side, name, frame, stream, hole, before, after):
    talk, other = Talk(), "s" if side == "c" else "c"
    talk.put(side, ACK | PSH, 0, stream[:hole[0]])
    talk.put(side, ACK | PSH, hole[1], stream[hole[1]:])
    talk.put(other, ACK, 0)
    talk.finish({side: len(stream), other: 0})
    got, done = follow(tenon, tmp_path, talk.packets, "--frame", frame)
    events = [m.get("event") for m in got if m.get("from") == name]
    at = events.index("missing")
    mine = [m for m in got if m.get("from") == name]
    assert mine[at]["bytes"] == hole[1] - hole[0] and f"{hole[1] - hole[0]} bytes missing" in done.err
    assert [m["data"] for m in mine[:at] if "data" in m] == before
    assert [m["data"] for m in mine[at:] if "data" in m] == after
    assert ("unframed" in events) == (frame in ("u8", "netstring"))
    assert not [m for m in got if m.get("from") != name and ("data" in m or "event" in m)]


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("side, name", [("c", "client"), ("s", "server")])
def test_a_message_that_never_becomes_whole(tenon, tmp_path, side, name, ends):
    """Of either side, whether it ends in order or the capture does."""
    talk, other, stream = (Talk(), "s"
                           if side == "c" else "c", struct.pack(">I", 5) + b"whole" + struct.pack(">I", 100) + b"part")
    talk.put(side, ACK | PSH, 0, stream)
    talk.put(other, ACK | PSH, 0, struct.pack(">I", 3) + b"yes")
    if ends:
        talk.finish({side: len(stream), other: 7})
    got, _ = follow(tenon, tmp_path, talk.packets, "--frame", "u32", status=None)
    assert [m["data"] for m in got if m.get("from") == name and "data" in m] == ["whole"]
    assert [m["data"] for m in got if m.get("from") != name and "data" in m] == ["yes"]
    told = [m for m in got if m.get("event") in ("unfinished", "broken")]
    assert [m["from"] for m in told] == [name], got
    assert told[0]["event"] == "broken" or told[0]["bytes"] in (4, 8), told


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_so_many_messages(tenon, tmp_path, most):
    """--count counts what is shown: not the packets, of which one may hold many messages and another none."""
    talk, stream = Talk(), b"one\ntwo\nthree\n"
    talk.put("c", ACK, 0, stream)
    talk.finish({"c": len(stream), "s": 0})
    got, _ = follow(tenon, tmp_path, talk.packets, "--frame", "line", "--count", most)
    assert [m["data"] for m in got if "data" in m] == ["one", "two", "three"][:most]


def test_what_a_format_refuses(tenon, tmp_path):
    talk = Talk()
    stream = b'{"a":1}\n{"a":\x1b}\n{"a":3}\n'
    talk.put("c", ACK, 0, stream)
    talk.finish({"c": len(stream), "s": 0})
    got, done = follow(tenon, tmp_path, talk.packets, "--frame", "line", "--format", "json", status=REFUSED)
    assert [m.get("value") for m in got] == [{"a": 1}, None, {"a": 3}]
    assert "json: " in got[1]["error"] and got[1]["data"] == '{"a":\x1b}'
    assert "1 messages that are not what" in done.err
    plain = tenon.run("capture", "--read", tmp_path / "talk.pcap", "--follow", "--frame", "line", "--format", "json",
                      status=REFUSED).text
    assert r'{"a":\x1b}' in plain and "\x1b" not in plain


def test_datagrams_are_messages(tenon, tmp_path, libpcap):
    frames = [packets.ethernet(packets.udp("10.0.0.1", 5, "10.0.0.2", 7, cbor2.dumps([n, "x"]))) for n in range(5)]
    frames += [packets.ethernet(packets.udp("10.0.0.1", 5, "10.0.0.2", 8, b"other"))]
    got, _ = follow(tenon, tmp_path, frames, "--endpoint", "udp://10.0.0.2:7?format=cbor")
    assert [m["value"] for m in got] == [[n, "x"] for n in range(5)]


@pytest.mark.parametrize("a, b", [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")])
@pytest.mark.parametrize("filtered", [True, False])
def test_messages_in_fragments(tenon, tmp_path, libpcap, a, b, filtered):
    """Longer than a packet of the network, and so cut by IP: in any order, with others between, by the ports of the
    first."""
    texts = [bytes([ord("a") + n]) * 3000 for n in range(3)]
    wanted = [list(packets.fragments(packets.udp(a, 5, b, 7, text), 1000, 10 + n)) for n, text in enumerate(texts)]
    others = list(packets.fragments(packets.udp(a, 5, b, 8, b"x" * 3000), 1000, 99))
    lacks = list(packets.fragments(packets.udp(a, 5, b, 7, b"y" * 3000), 1000, 77))[:-1]
    order = [wanted[1][3], others[0], wanted[0][0], wanted[1][0], wanted[2][2], others[2], wanted[1][2], wanted[0][3],
             others[3], *lacks, wanted[0][1], wanted[1][1], wanted[2][0], wanted[0][2], wanted[2][3], others[1],
             wanted[2][1]]
    host = f"[{b}]" if ":" in b else b
    got, done = follow(tenon, tmp_path, map(packets.ethernet, order),
                       *(["--endpoint", f"udp://{host}:7"] if filtered else []))
    assert [m["data"].encode() for m in got] == [texts[1], texts[0], *([] if filtered else [b"x" * 3000]), texts[2]]
    assert "1 datagrams of which not all IP fragments were captured" in done.err


def test_a_stream_in_fragments(tenon, tmp_path):
    pieces = packets.fragments(packets.tcp("10.0.0.1", 5, "10.0.0.2", 7, ACK, 1, 1, b"one\ntwo\n"), 16)
    got, _ = follow(tenon, tmp_path, [packets.ethernet(packets.tcp("10.0.0.1", 5, "10.0.0.2", 7, SYN, 0, 0)),
                                      *map(packets.ethernet, pieces)], "--frame", "line")
    assert [m["data"] for m in got if "data" in m] == ["one", "two"]


def test_memory_is_bounded(tenon, tmp_path):
    """A thousand streams with holes in them: what is kept stays below the maximum, and what is let go is said."""
    frames = []
    for port in range(1000):
        frames.append(packets.ethernet(packets.tcp("10.0.0.1", 1000 + port, "10.0.0.2", 80, SYN, 0, 0)))
        frames.append(packets.ethernet(packets.tcp("10.0.0.1", 1000 + port, "10.0.0.2", 80, ACK, 2, 1, b"y" * 1400)))
    got, done = follow(tenon, tmp_path, frames, "--memory", "100KiB")
    let_go = [m for m in got if m.get("event") == "let go"]
    assert len(let_go) > 900
    assert f"{len(let_go)} connections let go for lack of memory" in done.err
    assert sum(m.get("bytes", 0) for m in got if m.get("event") == "missing") == 1000
    assert sum(m["length"] for m in got if "length" in m) == 1400 * 1000


# Live

@pytest.fixture
def live(tenon, network, libpcap, tmp_path):
    """live(ARGS): a capture on the loopback of a network of its own, which listens."""
    def start(*args):
        process = tenon.start("capture", "--iface", "lo", *args, preexec_fn=network.enter)
        process.wait_for_text("listening on lo")
        return process
    return start


def stop(process, status=0):
    process.signal(signal.SIGINT)
    process.wait(status)
    return process


def exchange(network, pairs, port=7000, answer=lambda data: data):
    """One connection on which each message is answered; `pairs` are the messages."""
    listener = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    client = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener, client:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            for message in pairs:
                client.sendall(message)
                server.sendall(answer(harness.receive_exactly(server, len(message))))
                harness.receive_exactly(client, len(answer(message)))
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""


def test_live_packets_as_tcpdump_captures_them(tenon, live, network, program, tmp_path):
    theirs = tenon.peer(program("tcpdump"), "-i", "lo", "-n", "-U", "-Z", "root", "-w", tmp_path / "theirs.pcap", "tcp",
                        preexec_fn=network.enter)
    theirs.wait_for_text("listening on")
    ours = live("--write", tmp_path / "ours.pcapng", "tcp")
    exchange(network, [b"x" * n for n in range(1, 200)])
    stop(ours)
    harness.wait_until(lambda: (tmp_path / "theirs.pcap").stat().st_size > 50000, "tcpdump has written")
    found = re.search(r"lo: (\d+) packets; 0 dropped for lack of room \(--buffer\), 0 by the interface", ours.err)
    harness.wait_until(lambda: len(packets_of(tenon, tmp_path / "ours.pcapng")) == int(found[1]), "all is written")

    def seen(name):
        return [line.split(" ", 1)[1] for line in tcpdump_of(tenon, program, tmp_path / name)]
    harness.wait_until(lambda: stop_theirs_when(seen, theirs), "tcpdump has as many")
    assert seen("ours.pcapng") == seen("theirs.pcap")
    assert tshark_of(tenon, program, tmp_path / "ours.pcapng", ["frame.interface_name"])[0] == ["lo"]
    again = tenon.run("capture", "--read", tmp_path / "ours.pcapng")
    assert "; 0 were dropped while it was captured" in again.err


def stop_theirs_when(seen, theirs):
    if len(seen("theirs.pcap")) < len(seen("ours.pcapng")):
        return False
    theirs.signal(signal.SIGINT)
    theirs.wait(None)
    return True


@pytest.mark.parametrize("name", ["a.pcapng", "a.pcapng.gz"])
def test_live_what_has_come_can_be_read_at_once(live, network, tmp_path, name):
    """Though nothing more comes, and also where it is compressed."""
    path = tmp_path / name
    live("--write", path, "udp")
    with contextlib.closing(network.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.sendto(b"to be read at once", ("127.0.0.1", 9))

    def read():
        data = path.read_bytes()
        return zlib.decompressobj(31).decompress(data) if name.endswith("gz") else data
    harness.wait_until(lambda: b"to be read at once" in read(), "it is in the file")


def test_live_lines_and_privileges(live, network):
    capture = live("--json")
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{capture.pid}/status",
                                                        encoding="utf-8").read().splitlines()
                  if ":\t" in line)
    assert 0 not in map(int, status["Uid"].split() + status["Gid"].split()) and status["Groups"].strip() == ""
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"
    exchange(network, [b"hello"])
    stop(capture)
    *got, counts = [json.loads(line) for line in capture.lines]
    assert (counts["event"], counts["packets"], counts["dropped"]) == ("counts", len(got), 0)
    assert (counts["interface"], counts["interface_dropped"]) == ("lo", 0)
    assert [packet["flags"] for packet in got[:2]] == ["S", "SA"]
    assert sum(packet["payload"] for packet in got) == 10


def test_live_any_interface_and_count(tenon, network, libpcap):
    capture = tenon.start("capture", "--count", 3, "udp", preexec_fn=network.enter)
    capture.wait_for_text("listening on any")
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(b"hello", ("127.0.0.1", 9))
    capture.wait()
    assert len(capture.lines) == 3
    assert re.search(r" lo in udp 127\.0\.0\.1:\d+ > 127\.0\.0\.1:9 len 5$", capture.lines[0]), capture.lines[0]
    assert "0 dropped" in capture.err


@pytest.mark.parametrize("keys, wrap", [("frame=line&format=json", lambda v: json.dumps(v).encode() + b"\n"),
                                        ("frame=u32&format=cbor",
                                         lambda v: (lambda b: struct.pack(">I", len(b)) + b)(cbor2.dumps(v)))])
def test_live_messages_between_two_programs(live, network, keys, wrap):
    values = [{"n": n, "text": "x" * n} for n in range(30)]
    capture = live("--follow", "--json", "--endpoint", f"tcp://127.0.0.1:7000?{keys}")
    exchange(network, [wrap(value) for value in values])
    exchange(network, [b"not this"], port=7001)
    stop(capture)
    got = [json.loads(line) for line in capture.lines]
    for side in ("client", "server"):
        assert [m["value"] for m in got if m.get("from") == side and "value" in m] == values
    assert [m["event"] for m in got if "event" in m] == ["counts"]


def test_live_tls_secrets_reach_tshark(tenon, live, network, program, tmp_path):
    tenon.run("cert", "new", "--out", tmp_path / "certs", "--host", "localhost")
    keys, trace = tmp_path / "keys", tmp_path / "trace.pcapng"
    keys.touch()
    capture = live("--write", trace, "--keylog", keys, "tcp")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "certs/server.pem", tmp_path / "certs/server.key")
    client_side = ssl.create_default_context(cafile=tmp_path / "certs/ca.pem")
    client_side.keylog_filename = str(keys)
    listener = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 443))
    listener.listen()

    def serve():
        with contextlib.closing(listener), server_side.wrap_socket(listener.accept()[0], server_side=True) as conn:
            conn.recv(1000)
            conn.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    thread = threading.Thread(target=serve)
    thread.start()
    raw = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.connect(("127.0.0.1", 443))
    with client_side.wrap_socket(raw, server_hostname="localhost") as conn:
        conn.sendall(b"GET /secret-place HTTP/1.0\r\n\r\n")
        harness.receive_to_end(conn)
    thread.join()
    stop(capture)
    found = tenon.finish([program("tshark"), "-r", trace, "-T", "fields", "-e", "http.request.uri",
                          "-Y", "http.request"],
                         limit=3 * harness.LIMIT).text
    assert "/secret-place" in found
    again = tmp_path / "again.pcapng"
    tenon.run("capture", "--read", trace, "--write", again)
    assert b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" in again.read_bytes()


@pytest.mark.parametrize("args", [[], ["--json"], ["--follow"], ["--write", "out.pcapng"]])
def test_an_interface_that_goes_ends_it(tenon, network, libpcap, program, tmp_path, args):
    """Down is waited out, and told; deleted is the end, and a failure. What was captured is all there."""
    def ip(*words):
        tenon.finish([program("ip"), *words], preexec_fn=network.enter)
    ip("link", "add", "here", "type", "veth", "peer", "name", "there")
    for name, address in (("here", "10.9.0.1/24"), ("there", "10.9.0.2/24")):
        ip("link", "set", name, "up")
        ip("addr", "add", address, "dev", name)
    capture = tenon.start("capture", "--iface", "here", *args, "udp", preexec_fn=network.enter, cwd=tmp_path)
    capture.wait_for_text("listening on here")

    def say(times):
        with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"here")
            for _ in range(times):
                sock.sendto(b"hello", ("10.9.0.9", 9))
    ip("neigh", "add", "10.9.0.9", "lladdr", "02:00:00:00:00:09", "dev", "here")
    say(2)
    ip("link", "set", "here", "down")
    capture.wait_for_text("here: the interface is down")
    ip("link", "set", "here", "up")
    capture.wait_for_text("here: the interface is up again")
    ip("neigh", "replace", "10.9.0.9", "lladdr", "02:00:00:00:00:09", "dev", "here")
    say(3)
    ip("link", "set", "here", "down")
    ip("link", "del", "here")
    capture.wait(FAILED)
    assert "here: the interface has gone" in capture.err and "here: 5 packets" in capture.err, capture.err
    lines = tenon.run("capture", "--read", tmp_path / "out.pcapng").lines if "--write" in args else capture.lines
    assert len([line for line in lines if '"event"' not in line]) == 5, lines


def test_without_privilege(tenon, libpcap):
    if os.geteuid() == 0:
        done = tenon.run("capture", "--iface", "lo", status=FAILED, preexec_fn=system.drop_capabilities)
    else:
        done = tenon.run("capture", "--iface", "lo", status=FAILED)
    problem, _, remedy = done.err.partition("\n")
    assert "CAP_NET_RAW" in problem and "setcap cap_net_raw" in remedy
    assert "packets" not in done.err


@pytest.mark.parametrize("args", [["--iface", "lo"], ["--read", "a.pcap", "tcp"]])
def test_without_libpcap(tenon, libpcap, tmp_path, args):
    """What needs it says what to install; a file is read without it."""
    write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, list(packets.frames(packets.ETHERNET))))
    for name in ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so"):
        (tmp_path / name).write_bytes(b"")
    how = {"env": {"LD_LIBRARY_PATH": os.fspath(tmp_path)}, "cwd": tmp_path}
    done = tenon.run("capture", *args, status=FAILED, **how)
    assert "libpcap is not installed here" in done.err and "apt-get install libpcap0.8" in done.err
    assert tenon.run("capture", "--read", "a.pcap", **how).lines


@pytest.fixture
def veth(tenon, network, program):
    """Two interfaces with a cable between them, in the test's network; `here` has addresses."""
    def ip(*words):
        tenon.finish([program("ip"), *words], preexec_fn=network.enter)
    ip("link", "add", "here", "address", "02:00:00:00:00:01", "mtu", "1400", "type", "veth", "peer", "name", "there")
    ip("addr", "add", "10.9.0.1/24", "dev", "here")
    ip("addr", "add", "fd09::1/64", "dev", "here", "nodad")
    ip("neigh", "add", "10.9.0.9", "lladdr", "02:00:00:00:00:09", "dev", "here")
    return ip


def test_list_of_interfaces(tenon, network, veth):
    """Without privileges, without libpcap: names, states, addresses, as ip(8) says them."""
    def listed():
        done = tenon.run("capture", "--list", "--json", preexec_fn=network.enter)
        return {one["name"]: one for one in map(json.loads, done.lines)}
    first = listed()
    assert list(first) and set(first) == {"lo", "here", "there"}
    assert first["here"]["state"] == "down" and first["lo"]["state"] == "up"
    veth("link", "set", "here", "up")
    assert listed()["here"]["state"] == "no-carrier"
    veth("link", "set", "there", "up")
    harness.wait_until(lambda: listed()["here"]["state"] == "up", "the link has a carrier")
    one = listed()["here"]
    assert one["link_address"] == "02:00:00:00:00:01" and one["mtu"] == 1400 and not one["loopback"]
    assert {"10.9.0.1/24", "fd09::1/64"} <= set(one["addresses"])
    loopback = listed()["lo"]
    assert loopback["loopback"] and loopback["link_address"] is None and "127.0.0.1/8" in loopback["addresses"]
    head, *lines = tenon.run("capture", "-D", preexec_fn=network.enter).lines
    assert head.split() == ["INTERFACE", "STATE", "MTU", "LINK", "ADDRESSES"]
    assert any(line.split()[:5] == ["here", "up", "1400", "02:00:00:00:00:01", "10.9.0.1/24"] for line in lines), lines


@pytest.mark.parametrize("which", ["in", "out"])
def test_live_one_direction(tenon, network, libpcap, veth, which):
    """Of what passes an interface in both directions, only one is taken."""
    veth("link", "set", "here", "up")
    veth("link", "set", "there", "up")
    capture = tenon.start("capture", "--iface", "here", "--direction", which, "--count", 2, "udp port 9 or udp port 10",
                          preexec_fn=network.enter)
    capture.wait_for_text("listening on here")
    raw = network.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("there", 0))
    with raw, network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        head = bytes.fromhex("020000000001" "020000000009" "0800")
        datagram = (struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes([10, 9, 0, 9]),
                                bytes([10, 9, 0, 1])) + struct.pack("!HHHH", 10, 10, 8, 0))
        for _ in range(2):
            raw.send(head + datagram)
            sock.sendto(b"hello", ("10.9.0.9", 9))
    capture.wait()
    wanted = "10.9.0.9:10 > 10.9.0.1:10" if which == "in" else "> 10.9.0.9:9 len 5"
    assert len(capture.lines) == 2 and all(wanted in line for line in capture.lines), capture.lines


def test_a_loopback_has_no_way_out(tenon, network):
    done = tenon.run("capture", "--iface", "lo", "--direction", "out", status=USAGE, preexec_fn=network.enter)
    assert "loopback" in done.err


def test_no_such_interface(tenon, network, libpcap):
    done = tenon.run("capture", "--iface", "loo", status=FAILED, preexec_fn=network.enter)
    assert "did you mean lo?" in done.err
    assert "lo" in tenon.run("capture", "--iface", "wlan99", status=FAILED, preexec_fn=network.enter).err


@pytest.mark.parametrize("args", [[], ["--json"], ["-x"], ["--follow"], ["--write", "-"]])
def test_a_reader_that_has_gone_ends_it(tenon, tmp_path, args):
    """In the midst of a file and while a pipe says nothing: at once, without a word, and it is no failure."""
    frames = list(packets.frames(packets.ETHERNET))
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, frames * 4000))
    process = tenon.start("capture", "--read", path, *args, stdout=subprocess.PIPE)
    assert process.popen.stdout.read(10)
    process.popen.stdout.close()
    process.wait(0)
    assert process.err == ""
    waiting = tenon.start("capture", "--read", "-", *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    waiting.popen.stdin.write(b"".join(packets.pcap(packets.ETHERNET, frames)))
    waiting.popen.stdin.flush()
    if "--follow" not in args:
        assert waiting.popen.stdout.read(10)
    waiting.popen.stdout.close()
    waiting.wait(0)
    assert waiting.err == ""


def test_a_reader_that_goes_in_the_midst_of_messages(tenon, tmp_path):
    """What was kept for streams that are still open is let go of without a word."""
    talk = Talk()
    talk.put("c", ACK | PSH, 0, b"\0\0\0\5whole\0\0\0\x09part")
    frames = talk.packets + [packets.ethernet(packets.udp("10.0.0.1", 5, "10.0.0.2", 7, b"x" * 1000))] * 3000
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, frames))
    process = tenon.start("capture", "--read", path, "--follow", "--frame", "u32", stdout=subprocess.PIPE)
    assert process.popen.stdout.read(10)
    process.popen.stdout.close()
    process.wait(0)
    assert process.err == ""


@pytest.mark.parametrize("args", [[], ["--write", "-"]])
def test_live_a_reader_that_has_gone_ends_it(tenon, network, libpcap, args):
    """Though there is no packet that could be written."""
    process = tenon.start("capture", "--iface", "lo", *args, stdout=subprocess.PIPE, preexec_fn=network.enter)
    process.wait_for_text("listening on lo")
    process.popen.stdout.close()
    process.wait(0)
    assert "packets" not in process.err


def test_the_summary_stands_behind_the_packets(tenon, tmp_path):
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, list(packets.frames(packets.ETHERNET))))
    for args in ([], ["--count", "3"], ["--follow"]):
        lines = tenon.finish(["sh", "-c", 'exec "$@" 2>&1', "sh", *tenon.argv("capture", "--read", path, *args)]).lines
        told = next(i for i, line in enumerate(lines) if line.startswith("tenon: "))
        assert told > 0 and all(line.startswith("tenon: ") for line in lines[told:])


# On a terminal

def on_a_terminal(tenon, *args, columns=100, **env):
    """What `tenon capture ARGS` writes to a terminal."""
    person, terminal = os.openpty()
    fcntl.ioctl(person, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(tenon.argv("capture", *args), stdin=subprocess.DEVNULL, stdout=terminal,
                          stderr=subprocess.DEVNULL, env={**harness.environment(), "TERM": "xterm", **env}) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):
            while data := os.read(person, 65536):
                shown += data
        os.close(person)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def bare(text):
    return re.sub(r"\x1b\[\d*m", "", text)


@pytest.mark.parametrize("columns", [80, 100, 250])
def test_lines_fit_a_terminal(tenon, tmp_path, columns):
    """At most 100 columns, coloured, and nothing else is said than in a pipe but for TCP's numbers and time stamps."""
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, packets.frames(packets.ETHERNET)))
    plain = tenon.run("capture", "--read", path, env={"TERM": "xterm"}).text
    shown = on_a_terminal(tenon, "--read", path, columns=columns)
    assert "\x1b[" in shown and "\x1b" not in plain
    assert max(map(len, bare(shown).splitlines())) <= min(columns, 100)
    whole = bare(shown).replace("\n    ", " ")

    def without_numbers(text):
        return re.sub(r" ts \d+:\d+", "", re.sub(r" (seq|ack|sack) [-\d]+", r" \1", text)).splitlines()
    assert without_numbers(whole) == without_numbers(plain)
    absolute = on_a_terminal(tenon, "--read", path, "--absolute", "-v", columns=columns)
    assert bare(absolute).replace("\n    ", " ") == tenon.run("capture", "--read", path, "-v").text


def test_colours_are_for_terminals_that_want_them(tenon, tmp_path):
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, packets.frames(packets.ETHERNET)))
    for args, env in (([], {"NO_COLOR": "1"}), (["--color=never"], {}), (["--json"], {}), ([], {"TERM": "dumb"})):
        assert "\x1b" not in on_a_terminal(tenon, "--read", path, *args, **env), (args, env)
    assert "\x1b[" in tenon.run("capture", "--read", path, "--color=always").text
    coloured, plain = (tenon.run("capture", "--read", path, *more).text for more in (["--color=always"], []))
    assert bare(coloured) == plain
    assert on_a_terminal(tenon, "--read", path, "--json") == tenon.run("capture", "--read", path, "--json").text


def test_each_side_of_a_talk_has_its_colour(tenon, tmp_path):
    talk = Talk()
    talk.put("c", ACK | PSH, 0, b"ask\n")
    talk.put("s", ACK | PSH, 0, b"answer\n")
    talk.finish({"c": 4, "s": 7})
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, talk.packets))
    lines = tenon.run("capture", "--read", path, "--follow", "--frame", "line", "--color=always").lines
    colours = {word: re.findall(r"\x1b\[(\d+)m #", line) for word in ("ask", "answer") for line in lines
               if bare(line).endswith(word)}
    assert colours == {"ask": ["36"], "answer": ["32"]}, lines
    assert all(re.search(r"\x1b\[0m[^\x1b]*$", line) for line in lines), "no colour goes on"


def test_reading_from_a_pipe_ends_with_a_signal(tenon):
    """All that came is shown, counts and all, though the pipe is open still."""
    frames = list(packets.frames(packets.ETHERNET))[:3]
    process = tenon.start("capture", "--read", "-", stdin=subprocess.PIPE)
    process.popen.stdin.write(b"".join(packets.pcap(packets.ETHERNET, frames)))
    process.popen.stdin.flush()
    harness.wait_until(lambda: len(process.lines) >= 3, "they are shown")
    process.signal(signal.SIGINT)
    process.wait(0)


@pytest.mark.parametrize("hosts", [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")], ids=["ip4", "ip6"])
def test_numbers_count_from_the_beginning(tenon, tmp_path, hosts):
    """Of each direction, over the end of the numbers, anew with each SYN; of one whose beginning was not seen from its
    first."""
    a, b = hosts
    near = 2**32 - 10  # the numbers run over
    frames = [packets.ethernet(packets.tcp(*one)) for one in [
        (a, 1000, b, 80, SYN, near, 0), (b, 80, a, 1000, SYN | ACK, 500, near + 1),
        (a, 1000, b, 80, ACK | PSH, near + 1, 501, b"x" * 20), (b, 80, a, 1000, ACK, 501, (near + 21) % 2**32),
        (a, 1000, b, 80, FIN | ACK, (near + 21) % 2**32, 501),
        (a, 1000, b, 80, SYN, 7000, 0), (a, 1000, b, 80, ACK, 7001, 0),
        (b, 80, a, 2000, ACK | PSH, 900000, 400, b"later"), (a, 2000, b, 80, ACK, 400, 900005)]]
    path = write(tmp_path / "a.pcap", packets.pcap(packets.ETHERNET, frames))
    lines = bare(on_a_terminal(tenon, "--read", path)).replace("\n    ", " ").splitlines()
    numbers = [tuple(map(int, re.search(r" seq (\d+)(?: ack (\d+))?", line).groups(default="0"))) for line in lines]
    assert numbers[:5] == [(0, 0), (0, 1), (1, 1), (1, 21), (21, 1)]
    assert numbers[5] == (0, 0) and numbers[6][0] == 1
    assert numbers[7:] == [(1, 1), (1, 6)]


# Files one after another

def datagrams(count, size=500):
    """A pcap of datagrams, one each second, whose first bytes count."""
    frames = [packets.ethernet(packets.udp("10.0.0.1", 7, "10.0.0.2", 9, b"%06d" % i + bytes(size)))
              for i in range(count)]
    return packets.pcap(packets.ETHERNET, frames)


def in_files(tenon, program, paths):
    """The times at which the packets of each file came, as tshark reads them."""
    return [[float(line[0]) for line in tshark_of(tenon, program, path, ["frame.time_epoch"])] for path in paths]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rotate, most", [("8KiB", 15), ("10s", 10)])
def test_files_follow_one_another(tenon, tmp_path, program, rotate, most, compress):
    path = tmp_path / "in.pcap"
    path.write_bytes(b"".join(datagrams(48)))
    extra = ["--compress"] if compress else []
    if compress and "without zlib" in tenon.run("capture", "--read", path, "--write", tmp_path / "x.gz",
                                                status=None).err:
        pytest.skip("no zlib here")
    tenon.run("capture", "--read", path, "--write", tmp_path / "out.pcapng", "--rotate", rotate, *extra)
    end = ".pcapng.gz" if compress else ".pcapng"
    names = ["out" + end] + [f"out-{i}{end}" for i in range(2, 9)]
    found = [tmp_path / name for name in names if (tmp_path / name).exists()]
    times = in_files(tenon, program, found)
    assert sum(times, []) == sorted(sum(times, [])) and len(sum(times, [])) == 48
    assert max(map(len, times)) <= most and len(times) > 2
    for name in found:
        data = name.read_bytes()
        assert name.stat().st_mode & 0o777 == 0o600
        assert len(zlib.decompress(data, 31) if compress else data) <= 8192 or rotate == "10s"
        assert packets_of(tenon, name) != []


def test_the_oldest_files_go(tenon, tmp_path, program):
    path = tmp_path / "in.pcap"
    path.write_bytes(b"".join(datagrams(48)))
    tenon.run("capture", "--read", path, "--write", tmp_path / "out.pcap", "--rotate", "10s", "--keep", "2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.pcap", "out-4.pcap", "out-5.pcap"]
    assert list(map(len, in_files(tenon, program, [tmp_path / "out-4.pcap", tmp_path / "out-5.pcap"]))) == [10, 8]


def test_the_next_file_cannot_be_made(tenon, tmp_path, network):
    """It ends and says why; counts that come behind are no reason to crash."""
    (tmp_path / "o-2.pcapng").mkdir()
    capture = tenon.start("capture", "--iface", "lo", "--write", tmp_path / "o.pcapng", "--rotate", "4KiB",
                          preexec_fn=network.enter)
    capture.wait_for_text("listening on lo")
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(9):
            sock.sendto(bytes(1400), ("127.0.0.1", 9))
    capture.wait(FAILED)
    assert f"{tmp_path}/o-2.pcapng: Is a directory" in capture.err


def test_a_later_file_is_not_written_over_what_is_read(tenon, tmp_path):
    path = tmp_path / "out-3.pcap"
    path.write_bytes(b"".join(datagrams(48)))
    before = path.read_bytes()
    done = tenon.run("capture", "--read", path, "--write", tmp_path / "out.pcap", "--rotate", "10s", status=FAILED)
    assert f"{path}: would be written over what is read" in done.err and path.read_bytes() == before


def test_nothing_is_written_over_without_the_secrets(tenon, tmp_path):
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    path.write_bytes(b"".join(datagrams(2)))
    out.write_bytes(b"of yesterday")
    done = tenon.run("capture", "--read", path, "--write", out, "--keylog", tmp_path / "keys", status=FAILED)
    assert "keys: No such file" in done.err and out.read_bytes() == b"of yesterday"


def test_each_file_has_the_secrets(tenon, tmp_path):
    path, keys = tmp_path / "in.pcap", tmp_path / "keys"
    path.write_bytes(b"".join(datagrams(20)))
    keys.write_text("CLIENT_RANDOM 00 11\n", encoding="ascii")
    tenon.run("capture", "--read", path, "--write", tmp_path / "o.pcapng", "--rotate", "5s", "--keylog", keys,
              "--comment", "of today")
    files = sorted(tmp_path.glob("o*.pcapng"))
    assert len(files) == 4
    assert all(b"CLIENT_RANDOM 00 11" in file.read_bytes() and b"of today" in file.read_bytes() for file in files)
    keys.write_text("CLIENT_RANDOM 00 11\n" * 250, encoding="ascii")  # they count, in each file again
    tenon.run("capture", "--read", path, "--write", tmp_path / "s.pcapng", "--rotate", "8KiB", "--keylog", keys)
    files = sorted(tmp_path.glob("s*.pcapng"))
    assert len(files) > 3 and all(5000 < file.stat().st_size <= 8192 for file in files)


@pytest.mark.parametrize("damage, said", [(lambda data: data[:-20], "cut off"), (lambda data: data[:-400], "cut off"),
                                          (lambda data: data[:30] + b"\xff" * 64 + data[94:], "damaged")])
def test_compressed_files_that_are_damaged(tenon, tmp_path, damage, said):
    path = tmp_path / "a.pcap.gz"
    press = zlib.compressobj(wbits=31)
    path.write_bytes(damage(press.compress(b"".join(datagrams(40))) + press.flush()))
    result = tenon.run("capture", "--read", path, status=None)
    assert result.status in (FAILED, REFUSED) and str(path) in result.err, (said, result.err)


def test_members_of_gzip_are_one_file(tenon, tmp_path):
    whole = b"".join(datagrams(9))
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(b"".join((press := zlib.compressobj(wbits=31)).compress(part) + press.flush()
                              for part in (whole[:100], whole[100:])))
    assert len(packets_of(tenon, path)) == 9


# Times

@pytest.mark.parametrize("form, theirs", [("epoch", ["-tt"]), ("none", ["-t"]), ("delta", ["-ttt"]),
                                          ("date", ["-tttt"]), ("relative", ["-ttttt"]), ("local", [])])
def test_times_as_tcpdump_has_them(tenon, tmp_path, program, form, theirs):
    path = tmp_path / "a.pcap"
    path.write_bytes(b"".join(datagrams(4)))
    env = {"TZ": "Asia/Shanghai"}
    ours = tenon.run("capture", "--read", path, "--time", form, env=env).lines
    done = tenon.finish([program("tcpdump"), "-n", *theirs, "-r", path], env={**os.environ, **env})
    assert [line.split("ethernet")[0].strip().removeprefix("0") or "-" for line in ours] == [
        re.sub(r"^ ?0*(00:)*0?(?=\d+\.|$)", "", line.split("IP ")[0].strip()).removeprefix("0") or "-"
        if form in ("delta", "relative") else line.split("IP ")[0].strip().removeprefix("0") or "-"
        for line in done.lines]


def test_live_nanoseconds(live, network):
    capture = live("--nanoseconds", "--time", "utc")
    exchange(network, [b"hello"])
    stop(capture)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}Z ", line) for line in capture.lines)


# Processes

def test_live_packets_of_a_process(tenon, live, network, tmp_path, program):
    inside = {"preexec_fn": network.enter}
    one, other = (tenon.serve(f"tcp://127.0.0.1:{port}", **inside) for port in (7001, 7002))
    ours = live("--process", one.pid, "--json")
    every = live("--process", "any", "--write", tmp_path / "any.pcapng")
    exchange(network, [b"of nobody"])
    with network.socket(socket.AF_INET, socket.SOCK_STREAM) as a, network.socket(socket.AF_INET,
                                                                                socket.SOCK_STREAM) as b:
        for sock, server in ((a, one), (b, other)):
            sock.connect(("127.0.0.1", server.port))
            sock.sendall(b"x")
            sock.recv(9)
        harness.wait_until(lambda: b"of nobody" in (tmp_path / "any.pcapng").read_bytes(), "it is written")
    stop(ours), stop(every)
    got = [json.loads(line) for line in ours.lines if '"event"' not in line]
    assert got and all(f"tenon ({one.pid})" in packet["comment"] and
                       ":7001" in packet["source"] + packet["destination"] for packet in got)
    comments = {tuple(line) for line in tshark_of(tenon, program, tmp_path / "any.pcapng",
                                                  ["tcp.dstport", "frame.comment"])}
    for server in (one, other):
        assert any(port == str(server.port) and comment == f"process ? > tenon ({server.pid})"
                   for port, comment in comments), comments
    assert ("7000", "") in comments


def test_live_packets_of_a_name(tenon, live, network):
    server = tenon.serve("udp://127.0.0.1:7002", preexec_fn=network.enter)
    capture = live("--process", "tenon")
    exchange(network, [b"mine"] * 3)
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", 7002))
        sock.recv(9)
    harness.wait_until(lambda: len(capture.lines) >= 2, "both datagrams")
    stop(capture)
    assert len(capture.lines) == 2 and all("udp" in line and f"tenon ({server.pid})" in line for line in capture.lines)
