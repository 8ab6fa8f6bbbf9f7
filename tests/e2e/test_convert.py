"""tenon convert: messages of one format in, the same messages of another out."""
import io
import itertools
import json
import math
import pathlib
import random
import re
import struct
import subprocess
import time

import cbor2
import msgpack
import pytest

from harness import KIB, MIB, SANITIZED, wait_until

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)

FAILED, USAGE, REFUSED = 1, 2, 4

FORMATS = ["json", "xml", "cbor", "msgpack"]

# What a stream of messages looks like, by format: the default of each, and frames of every kind
STREAMS = ["json", "json/line", "json/u32", "json/nul", "xml/line", "xml/netstring", "cbor", "cbor/u16le", "cbor/cobs",
           "msgpack", "msgpack/varint", "msgpack/slip"]

MESSAGES = [
    None, True, False, 0, -1, 23, 24, 255, 256, 2**31, 2**53 + 1, 2**63 - 1, -2**63, 2**64 - 1, 0.0, 1.5, -1e300,
    5e-324, 0.1, "", "a", "ünï \U0001f600", "line\nfeed, tab\t, nul \0, quote \", \\ and </a>", [], {}, [[[]]],
    [1, [2, [3]]], {"": 0}, {"z": 1, "a": {"b": [None, True]}, "m": "x"}, {"long": "x" * 5000}, list(range(300)),
    {f"key {i}": i for i in range(70)},
]


def convert(tenon, source, target, data=b"", *args, status=0, **how):
    return tenon.run("convert", "--from", source, "--to", target, *args, input=data, status=status, **how)


def json_lines(messages):
    return b"".join(json.dumps(message, ensure_ascii=False).encode() + b"\n" for message in messages)


def same(a, b):
    """Equal, with 1 and 1.0 told apart and the order of keys looked at."""
    return repr(a) == repr(b)


# Round trips

@pytest.mark.parametrize("one,two", itertools.permutations(STREAMS, 2))
def test_every_pair_round_trips(tenon, one, two):
    begun = convert(tenon, "json", one, json_lines(MESSAGES)).out
    there = convert(tenon, one, two, begun).out
    back = convert(tenon, two, one, there).out
    assert back == begun
    assert same([json.loads(line) for line in convert(tenon, two, "json", there).lines], MESSAGES)


def generated(seed):
    """Values that all formats have."""
    chance = random.Random(seed)

    def value(depth):
        kind = chance.randrange(9 if depth < 5 else 6)
        if kind == 0:
            return chance.choice([None, True, False])
        if kind in (1, 2):
            return chance.randrange(-2**63, 2**64) >> chance.randrange(64)
        if kind == 3:
            number = struct.unpack("<d", chance.randbytes(8))[0]
            return number if math.isfinite(number) else 0.5
        if kind in (4, 5):
            return "".join(chr(chance.choice([chance.randrange(0x20, 0x7f), chance.randrange(0xa0, 0xd800),
                                              chance.randrange(0x10000, 0x110000), chance.randrange(0x20)]))
                           for _ in range(chance.randrange(12)))
        if kind == 6:
            return {str(value(9)): value(depth + 1) for _ in range(chance.randrange(6))}
        return [value(depth + 1) for _ in range(chance.randrange(6))]
    return [value(0) for _ in range(300)]


@pytest.mark.parametrize("target", FORMATS)
def test_generated_values(tenon, target):
    frame = "/u32" if target == "xml" else ""
    for seed in range(4):
        messages = generated(seed)
        # U+FFFE, U+FFFF and the like are the business of the unit tests: JSON text is enough here
        out = convert(tenon, target + frame, "json", convert(tenon, "json", target + frame, json_lines(messages)).out)
        assert same([json.loads(line) for line in out.lines], messages)


# Agreement with others

def unpack_all(data):
    return list(msgpack.Unpacker(io.BytesIO(data), raw=False, strict_map_key=False))


def decode_all(data):
    stream, found = io.BytesIO(data), []
    while stream.tell() < len(data):
        found.append(cbor2.load(stream))
    return found


def test_python_reads_what_we_write(tenon):
    messages = MESSAGES + generated(7)
    text = json_lines(messages)
    assert same(decode_all(convert(tenon, "json", "cbor", text).out), messages)
    assert same(unpack_all(convert(tenon, "json", "msgpack", text).out), messages)
    assert same([json.loads(line) for line in convert(tenon, "json", "json", text).lines], messages)
    assert same([json.loads(part) for part in convert(tenon, "json", "json/nul", text).out.split(b"\0")[:-1]], messages)


def test_we_read_what_python_writes(tenon):
    messages = MESSAGES + generated(8)
    for data, source in ((b"".join(cbor2.dumps(message) for message in messages), "cbor"),
                         (b"".join(msgpack.packb(message) for message in messages), "msgpack"),
                         (" ".join(json.dumps(message) for message in messages).encode(), "json"),
                         ("".join(json.dumps(message, indent=2) + "\n" for message in messages).encode(), "json")):
        assert same([json.loads(line) for line in convert(tenon, source, "json", data).lines], messages)


def test_we_write_what_python_writes(tenon):
    """Byte for byte: both choose the shortest form (cbor2 does when told to be canonical, apart from the order of
    keys)."""
    plain = [message for message in MESSAGES if not isinstance(message, (float, dict))]
    assert convert(tenon, "json", "cbor", json_lines(plain)).out == b"".join(map(cbor2.dumps, plain))
    ours = convert(tenon, "json", "msgpack", json_lines(plain)).out
    assert ours == b"".join(map(msgpack.packb, plain))


def test_python_reads_bytes_and_big_integers(tenon):
    text = b'{"$bytes":"AQID_w"} 18446744073709551616 -18446744073709551617 1' + b"0" * 60
    assert decode_all(convert(tenon, "json", "cbor", text).out) == [b"\1\2\3\xff", 2**64, -2**64 - 1, 10**60]
    assert unpack_all(convert(tenon, "json", "msgpack", text).out)[0] == b"\1\2\3\xff"
    for target in ("cbor", "msgpack", "xml/u32"):
        back = convert(tenon, target, "json", convert(tenon, "json", target, text).out)
        assert back.out.split(b"\n") == [*text.split(b" "), b""]


def test_what_only_cbor_and_messagepack_have(tenon):
    values = [b"", b"\0\xff" * 50, {1: 2, "a": 3}, {(1, 2): 3}, cbor2.CBORTag(1234, ["x"]), cbor2.undefined,
              float("inf"), float("-inf")]
    data = b"".join(map(cbor2.dumps, values))
    for frame in ("json", "xml/u32", "msgpack"):
        assert decode_all(convert(tenon, frame, "cbor", convert(tenon, "cbor", frame, data).out).out) == values
    ext = msgpack.packb(msgpack.ExtType(5, b"\1\2\3"))
    assert convert(tenon, "msgpack", "json", ext).text == '{"$ext":5,"value":"AQID"}\n'
    assert convert(tenon, "json", "msgpack", b'{"$ext":5,"value":"AQID"}').out == ext


def test_text_and_raw(tenon):
    assert convert(tenon, "text", "json", b"one\r\ntwo\n\nlast").text == '"one"\n"two"\n""\n"last"\n'
    assert convert(tenon, "json", "text", b'"one" "t\\nwo" ""').out == b"one\nt\nwo\n\n"
    assert convert(tenon, "raw", "json", b"\0\1\xff").text == '{"$bytes":"AAH_"}\n'
    assert convert(tenon, "json", "raw", b'{"$bytes":"AAH_"}"x"').out == b"\0\1\xffx"
    assert convert(tenon, "raw/u16", "raw/netstring", b"\0\3abc\0\0\0\1\n").out == b"3:abc,0:,1:\n,"


def test_pretty(tenon):
    messages = [{"a": {"b": [1, "x"]}, "c": {}, "d": []}, [], 1]
    out = convert(tenon, "json", "json", json_lines(messages), "--pretty").text
    assert '{\n  "a": {\n' in out
    assert same([json.loads(line) for line in convert(tenon, "json", "json", out.encode()).lines], messages)


def test_xml(tenon, tmp_path):
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?>\n<!-- no news -->\n<feed lang="en">\n<item>one &amp; '
                                    'two</item></feed>\n')
    (tmp_path / "b.xml").write_text('<map xmlns="http://www.w3.org/2005/xpath-functions"><number '
                                    'key="a">1</number></map>')
    out = tenon.run("convert", "--from=xml", "--to=json", tmp_path / "a.xml", tmp_path / "b.xml")
    assert out.lines == ['["feed",{"lang":"en"},"\\n",["item","one & two"]]', '{"a":1}']
    assert convert(tenon, "json", "xml", out.lines[0].encode(), "--jsonml").text == \
        '<feed lang="en">\n<item>one &amp; two</item></feed>\n'
    jsonml = convert(tenon, "xml", "json", (tmp_path / "b.xml").read_bytes(), "--jsonml").lines
    assert jsonml[0].startswith('["map",{"xmlns":')


# Streams

def fed(tenon, source, target, pieces, *args):
    """What comes out when input comes in pieces, each after the one before has been taken."""
    process = tenon.start("convert", "--from", source, "--to", target, *args, stdin=subprocess.PIPE)
    for piece in pieces:
        process.popen.stdin.write(piece)
        process.popen.stdin.flush()
    process.popen.stdin.close()
    process.wait(0)
    return process.out


@pytest.mark.parametrize("source", STREAMS)
def test_a_byte_at_a_time(tenon, source):
    data = convert(tenon, "json", source, json_lines(MESSAGES[:26])).out
    out = fed(tenon, source, "json", (data[i:i + 1] for i in range(len(data))))
    assert same([json.loads(line) for line in out.splitlines()], MESSAGES[:26])


@pytest.mark.parametrize("source,messages", [
    ("json", [b'{"a":1}', b'[1]\n', b'"x"', b'12\n']), ("json/line", [b'{"a":1}\n', b"[1]\n", b'"x"\n', b"12\n"]),
    ("cbor", [b"\xa1\x61a\x01", b"\x81\x01", b"\x61x", b"\x0c"]),
    ("msgpack", [b"\x81\xa1a\x01", b"\x91\x01", b"\xa1x", b"\x0c"]),
])
def test_each_message_comes_out_at_once(tenon, source, messages):
    process = tenon.start("convert", "--from", source, "--to", "json", stdin=subprocess.PIPE)
    expected = [b'{"a":1}', b"[1]", b'"x"', b"12"]
    for n, message in enumerate(messages, 1):
        process.popen.stdin.write(message)
        process.popen.stdin.flush()
        wait_until(lambda: process.out.splitlines() == expected[:n], lambda: process.out)
    assert not process.is_over()
    process.popen.stdin.close()
    process.wait(0)


def peak_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.M).group(1)) * KIB


@pytest.mark.skipif(SANITIZED, reason="memory is not the command's own under a sanitizer")
@pytest.mark.parametrize("source,target", [("json/line", "cbor/u32"), ("json", "msgpack"), ("cbor", "json"),
                                           ("msgpack", "cbor")])
def test_memory_stays_flat(tenon, source, target):
    """More than 100 MB through a pipe to a reader that stops for a while."""
    messages = [{"id": i, "name": f"user {i}", "tags": ["a", "b"], "x": i / 7, "text": "t" * (i % 90)}
                for i in range(5000)]
    block = convert(tenon, "json", source, json_lines(messages)).out
    rounds = 110 * MIB // len(block) + 1
    process = tenon.start("convert", "--from", source, "--to", target, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feeder = subprocess.Popen(["python3", "-c",
                               "import sys\nblock = open(sys.argv[1], 'rb').read()\n"
                               "for _ in range(int(sys.argv[2])): sys.stdout.buffer.write(block)",
                               write(tenon.folder / "block", block), str(rounds)], stdout=process.popen.stdin)
    process.popen.stdin.close()
    early = total = 0
    expected = len(convert(tenon, "json", target, json_lines(messages)).out) * rounds
    time.sleep(0.3)  # the reader stops: what piles up, piles up now
    try:
        while data := process.popen.stdout.read(256 * KIB):
            total += len(data)
            if not early and total > expected // 10:
                early = peak_bytes(process.pid)
            elif total >= expected - 4 * MIB and total - len(data) < expected - 4 * MIB:
                late = peak_bytes(process.pid)
    finally:
        feeder.wait(60)
    process.wait(0)
    assert total == expected
    assert late - early < MIB
    assert late < 32 * MIB


def write(path, data):
    path.write_bytes(data)
    return str(path)


# Files

def test_several_files(tenon, tmp_path):
    one, two = write(tmp_path / "one", b'{"a":1}\n'), write(tmp_path / "two", b"[2]")
    assert tenon.run("convert", "--from=json", "--to=json", one, "-", two, one,
                     input=b"3").text == '{"a":1}\n3\n[2]\n{"a":1}\n'


def test_an_end_of_file_ends_a_message(tenon, tmp_path):
    one, two = write(tmp_path / "one", b'[1,'), write(tmp_path / "two", b"2]")
    result = tenon.run("convert", "--from=json", "--to=json", one, two, status=REFUSED)
    assert result.out == b"" and f"{one}: message 1: json: line 1, byte 4: the text ends early" in result.err


def test_nothing_in_nothing_out(tenon):
    for source in STREAMS:
        assert convert(tenon, source, "json").out == b""


def test_a_missing_file_is_told_before_anything_is_written(tenon, tmp_path):
    one = write(tmp_path / "one", b"1")
    result = tenon.run("convert", "--from=json", "--to=json", one, tmp_path / "none", status=FAILED)
    assert result.out == b"" and result.err == f"tenon: {tmp_path}/none: No such file or directory\n"


def test_a_folder(tenon, tmp_path):
    result = tenon.run("convert", "--from=json", "--to=json", tmp_path, status=FAILED)
    assert f"{tmp_path}: Is a directory" in result.err


# Bad input

BAD = [
    ("json", b'{"a":1}\n{"a":1,\n "b":tru}\n', '{"a":1}\n', "message 2: json: line 2, byte 9: "),
    ("json/line", b'1\n{"a":1,}\n', "1\n", "message 2: json: line 1, byte 8: "),
    ("json", b'1 "\\ud800"', "1\n", "message 2: json: line 1, byte 2: "),
    ("json", b'1 "a\xff"', "1\n", "message 2: json: line 1, byte 3: "),
    ("json", b'1 [1,2', "1\n", "message 2: json: line 1, byte 5: the text ends early"),
    ("json", b'1 1e999', "1\n", "message 2: json: line 1, byte 1: "),
    ("json", b"1 " + b"[" * 200 + b"]" * 200, "1\n", "message 2: json: line 1, byte 129: nested too deep"),
    ("json/u32", b"\0\0\0\1" b"1" b"\0\0\0\5" b"[1", "1\n",
     "message 2: the stream ended inside a message (frame u32, 6 bytes of it had come)"),
    ("json/u32", b"\0\0\0\1" b"1" b"\xff\0\0\0" b"[1", "1\n",
     "message 2: message of 4278190080 bytes is too large: at most"),
    ("json/netstring", b"1:1,x", "1\n", "message 2: frame netstring: a length in digits"),
    ("json/netstring", b"1:1,1:1;", "1\n", "message 2: frame netstring: the ',' behind the message is missing"),
    ("json/varint", b"\1" b"1" + b"\xff" * 11, "1\n", "message 2: frame varint: a length of more than"),
    ("json/cobs", b"\2" b"1\0" b"\7" b"1\0", "1\n", "message 2: frame cobs: a run goes beyond"),
    ("json/fixed:2", b"12345", "12\n34\n", "message 3: the stream ended inside a message"),
    ("xml/line", b"<a/>\n<a><b></a>\n", '["a"]\n', "message 2: xml: line 1, byte 9: "),
    ("xml/line", b"<a/>\n<a>\xff</a>\n", '["a"]\n', "message 2: xml: line 1, byte 4: "),
    ("xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "bb">]><a>&b;</a>', "",
     "message 1: xml: line 1, byte 42: a reference to an external"),
    ("cbor", b"\x01\x82\x01\x1c", "1\n", "message 2: frame cbor: byte 2: "),
    ("cbor", b"\x01\x82\x01", "1\n",
     "message 2: the stream ended inside a message (frame cbor, 2 bytes of it had come)"),
    ("cbor", b"\x01\x62\xff\xff", "1\n", "message 2: cbor: byte 1: "),
    ("cbor", b"\x01\xa2\x01\x02\x01\x03", "1\n", "message 2: cbor: byte 3: "),
    ("cbor", b"\x01" + b"\x81" * 200 + b"\x01", "1\n", "message 2: cbor: byte 128: nested too deep"),
    ("cbor", b"\x01\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "1\n",
     "message 2: message of 18446744073709551615 bytes is too large: at most"),
    ("cbor/u8", b"\1\1\1\x1c", "1\n", "message 2: cbor: byte 0: "),
    ("msgpack", b"\x01\x92\x01\xc1", "1\n", "message 2: frame msgpack: byte 2: "),
    ("msgpack", b"\x01\xa2\xff\xff", "1\n", "message 2: msgpack: byte 1: "),
    ("msgpack", b"\x01\x92\x01", "1\n", "message 2: the stream ended inside a message (frame msgpack, 2 bytes"),
    ("msgpack", b"\x01" + b"\x91" * 200 + b"\x01", "1\n", "message 2: msgpack: byte 128: nested too deep"),
    ("text", b"a\nb\xff\n", '"a"\n', "message 2: text: line 1, byte 2: not UTF-8"),
]


@pytest.mark.parametrize("source,data,before,reason", BAD, ids=[f"{n}-{case[0]}" for n, case in enumerate(BAD)])
def test_bad_input(tenon, source, data, before, reason):
    result = convert(tenon, source, "json", data, status=REFUSED)
    assert result.text == before
    assert result.err.startswith(f"tenon: standard input: {reason}"), result.err


def test_the_reasons_differ(tenon):
    """Too large, too deep, bad UTF-8, cut off, bad prefix: nobody has to guess."""
    cases = [("json", b"[" * 200 + b"]" * 200), ("json", b'"\xff"'), ("json", b"[1"),
             ("json", b'"' + b"x" * 2000 + b'"'), ("json/netstring", b"x")]
    reasons = [convert(tenon, source, "json", data, "--max=1KiB", status=REFUSED).err.split(": ")[-1]
               for source, data in cases]
    assert len({re.sub(r"\d+", "", reason) for reason in reasons}) == len(cases), reasons


def test_what_is_too_large_names_the_remedy(tenon):
    big = json_lines(["x" * 2000])
    result = convert(tenon, "json/line", "json", b"1\n" + big, "--max", "1KiB", status=REFUSED)
    assert result.text == "1\n" and "at most 1024 are accepted" in result.err and "--max SIZE" in result.err
    assert convert(tenon, "json/line", "json", big, "--max", "2100").out == big
    result = convert(tenon, "raw", "json", b"x" * 2000, "--max", "1KiB", status=REFUSED)
    assert result.out == b"" and "more than 1024 bytes" in result.err and "--max SIZE" in result.err


@pytest.mark.parametrize("source,data", [
    ("json/line", b'1\n[2\n3\n{"a":}\n4'), ("json", b"1 [2,] 3 } 4"), ("cbor/u8", b"\1\1\1\x1c\1\3\2\x61\xff\1\4"),
    ("msgpack/u8", b"\1\1\1\xc1\1\3\2\xa1\xff\1\4"), ("cbor", b"\1\x61\xff\3\xa2\1\1\1\1\4"),
    ("msgpack", b"\1\xa1\xff\3\xa1\xff\4"), ("xml/line",
                                             b'<number xmlns="http://www.w3.org/2005/xpath-functions">1</number>\n<a>\n'
                 b'<number xmlns="http://www.w3.org/2005/xpath-functions">3</number>\n<a b=c/>\n'
                 b'<number xmlns="http://www.w3.org/2005/xpath-functions">4</number>\n'),
])
def test_skip(tenon, source, data):
    result = convert(tenon, source, "json", data, "--on-bad=skip", status=REFUSED)
    assert result.text == "1\n3\n4\n"
    complaints = result.err.splitlines()
    assert len(complaints) == 2 and "message 2: " in complaints[0] and "message 4: " in complaints[1]


def test_skip_cannot_pass_a_broken_frame(tenon):
    result = convert(tenon, "cbor", "json", b"\1\x1c\2", "--on-bad=skip", status=REFUSED)
    assert result.text == "1\n" and "message 2: frame cbor: byte 0" in result.err


def test_frames_that_are_described(tenon):
    """A header and a delimiter in words; what is too long to be one is refused, not cut."""
    head = "head:offset=12,size=4,endian=little,adjust=-16,header=16,keep=off"
    framed = convert(tenon, "json", f"json/{head}", b"[1] 2").out
    assert framed == bytes(12) + b"\x13\0\0\0[1]" + bytes(12) + b"\x11\0\0\0" + b"2"
    assert convert(tenon, f"json/{head}", "json", framed).out == b"[1]\n2\n"
    framed = b"a\r\nb\r\n.\r\n..\r\n.\r\n"
    assert convert(tenon, "text/until:\\r\\n.\\r\\n", "json", framed).out == b'"a\\r\\nb"\n".."\n'
    long = "head:size=4" + ",keep=off" * 20
    assert "no such frame" in convert(tenon, "json", f"json/{long}", b"1", status=2).err


def test_what_the_target_cannot_hold(tenon):
    assert "message 2: text: " in convert(tenon, "json", "text", b'"a" [1] "b"', status=REFUSED).err
    assert convert(tenon, "json", "text", b'"a" [1] "b"', "--on-bad=skip", status=REFUSED).out == b"a\nb\n"
    result = convert(tenon, "json", "text/line", b'"a" "b\\nc"', status=REFUSED)
    assert result.out == b"a\n" and "message 2: frame line: the message holds the byte that would end it" in result.err
    result = convert(tenon, "json", "json/u8", json_lines([1, "x" * 300]), status=REFUSED)
    assert result.out == b"\x011" and "message 2: frame u8: a message of 302 bytes has no such length" in result.err
    assert convert(tenon, "json", "cbor", b'{"a":1,"a":2}', status=REFUSED).out == b""


def test_strict(tenon):
    assert convert(tenon, "json", "json", b'{"a":1,"a":2}').text == '{"a":1,"a":2}\n'
    assert "message 1: json: line 1, byte 8" in convert(tenon, "json", "json", b'{"a":1,"a":2}',
                                                        "--strict", status=REFUSED).err
    assert convert(tenon, "cbor", "json", b"\x41a", "--strict", status=REFUSED).out == b""


def test_messages_before_a_bad_one_in_a_large_stream(tenon):
    """All of them, though the output is much more than any buffer holds."""
    lines = json_lines({"n": i, "text": "x" * 100} for i in range(40000))
    result = convert(tenon, "json/line", "json", lines + b"[\n" + lines, status=REFUSED)
    assert result.out.count(b"\n") == 40000 and "message 40001: " in result.err


@pytest.mark.parametrize("source", ["json/line", "json/crlf", "json"])
def test_blank_lines_hold_no_message(tenon, source):
    assert convert(tenon, source, "json", b"\n[1]\n\n \t\r\n[2]\r\n  ").text == "[1]\n[2]\n"
    assert convert(tenon, "xml/line", "json", b"\n<a/>\n\n<b/>\n").text == '["a"]\n["b"]\n'
    assert convert(tenon, "text/line", "json", b"\na\n").text == '""\n"a"\n'


def test_json_text_sequences(tenon):
    """RFC 7464, both ways."""
    texts = convert(tenon, "json", "json/json-seq", b"1 [2]").out
    assert texts == b"\x1e1\n\x1e[2]\n"
    for source in ("json", "json/json-seq"):
        assert convert(tenon, source, "json", texts).text == "1\n[2]\n"
    result = convert(tenon, "json/json-seq", "json", b"\x1e[1\n\x1e2\x1e[3]\n", "--on-bad=skip", status=REFUSED)
    assert result.text == "[3]\n" and result.err.count("message") == 2


# MessagePack and JSON keep equal keys; where is the second of them?
EQUAL_KEYS = [
    ("msgpack", b"\x82\x01\x01\x01\x02", 3),
    ("msgpack", b"\x92\x00\x82\xa1a\x01\xa1a\x02", 6),
    ("msgpack", b"\x82\x90\x01\x90\x02", 3),
    ("msgpack", b"\x82\xc4\x01x\x01\xc4\x01x\x02", 5),
    ("json", b'{"a":1,"a":2}', 7),
    ("json", b'[{"b":{"a":1, "a":2}}]', 14),
]


@pytest.mark.parametrize("source,data,at", EQUAL_KEYS)
@pytest.mark.parametrize("target", ["xml", "cbor", "xml/line", "cbor/u32"])
def test_equal_keys_do_not_cross(tenon, source, data, at, target):
    err = convert(tenon, source, target, data, status=REFUSED).err
    assert "a key stands twice" in err and re.search(rf"byte {at if source == 'msgpack' else at + 1}\b", err), err
    out = convert(tenon, source, "msgpack", data).out  # these keep them
    assert out == data or source == "json"
    convert(tenon, source, "json", data)


@pytest.mark.parametrize("target", ["xml", "cbor"])
def test_equal_keys_in_a_mark(tenon, target):
    """What JSON writes for a map whose keys are no text is the same map."""
    err = convert(tenon, "json", target, b'{"x":{"$map":[[1,1],[1,2]]}}', status=REFUSED).err
    assert "at /x/1" in err and "duplicate key" in err
    text = (b'<map xmlns="http://www.w3.org/2005/xpath-functions"><array '
            b'key="$map"><array><number>1</number><null/></array>'
            b'<array><number>1</number><null/></array></array></map>')
    err = convert(tenon, "xml", "json", text, status=REFUSED).err
    assert "a key stands twice" in err and f"byte {text.rindex(b'<number>') + 1}:" in err


def test_what_cannot_be_written_is_told_with_its_place(tenon):
    assert "xml: at /1/x~1y:" in convert(tenon, "json", "xml", b'["a",{"x/y":"1"}]', "--jsonml", status=REFUSED).err
    assert "xml: at /2/1/k: " in convert(tenon, "json", "xml", b'["a",["b"],["c",{"k":1}]]',
                                         "--jsonml", status=REFUSED).err
    assert "json: at /0/k: " in convert(tenon, "cbor", "json", b"\x81\xa1\x61k\x41x", "--strict", status=REFUSED).err


# Usage

@pytest.mark.parametrize("args,text", [
    (["--from", "jsn", "--to", "cbor"], "no format 'jsn' (did you mean json?)"),
    (["--from", "json", "--to", "yaml"], "no format 'yaml'"),
    (["--from", "json/lin", "--to", "cbor"], "--from: no such frame 'lin'; did you mean line"),
    (["--from", "json", "--to", "cbor/u33"], "--to: no such frame 'u33'; did you mean u32"),
    (["--from", "json", "--to", "cbor/u32&max=1"], "--to: no such frame"),
    (["--from", "json/fixed", "--to", "cbor"], "fixed alone does not say enough"),
    (["--from", "raw/fixed:5", "--to", "raw", "--max", "4"], "--from: such messages are longer than max allows"),
    (["--from", "json"], "--to is missing"),
    ([], "--from is missing"),
    (["--from", "json", "--to", "json", "--on-bad", "close"], "neither stop nor skip"),
    (["--from", "json", "--to", "json", "--max", "0"], "out of range"),
    (["--from", "json", "--to", "json", "--max", "x"], "not a size"),
    (["--from", "json", "--to", "json", "--prety"], "did you mean --pretty?"),
])
def test_usage(tenon, args, text):
    result = tenon.run("convert", *args, status=USAGE)
    assert text in result.err and result.out == b""


def test_help(tenon):
    assert "tenon convert --from cbor --to json" in tenon.run("convert", "--help").text
