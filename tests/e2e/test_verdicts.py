"""Damaged messages: what tenon takes and what it refuses is what Python's readers of each format take and refuse."""
import io
import json
import math
import random
import re
import struct
import xml.parsers.expat

import cbor2
import msgpack
import pytest

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
REFUSED = 4
COUNT = 1500

JSON = [b'{"a": [1, -2.5e3, true, null], "b": "x\\u00e9\\n\\ud834\\udd1e"}', b"[-123.123]",
        b'[[[]],{},"",0,"\xc3\xa9"]', b'{"k":{"k":{"k":[false,"\\\\\\""]}}}', b"  12.0  ", b'"text"']
CBOR = [cbor2.dumps(value) for value in ({"a": [1, -2.5, True, None], "b": "x\u00e9"}, [[], {}, "", 0, b"bytes", 2**40],
                                         {1: {2: {3: [False, "\u20ac"]}}}, "text", 1.1)]
CBOR += [b"\x9f\x01\x82\x02\x9f\xff\xff", b"\x7f\x61a\x62bc\xff", b"\xbf\x01\x02\xff"]
MSGPACK = [msgpack.packb(value) for value in ({"a": [1, -2.5, True, None], "b": "x\u00e9"},
                                              [[], {}, "", 0, b"bytes", 2**40], {1: {2: {3: [False, "\u20ac"]}}},
                                              "text", 1.1, msgpack.ExtType(5, b"abc"))]
XML = [b'<a x="1" y=\'2\'>text<b/><!-- c --><c>&amp;&#233;</c><?pi x?></a>',
       b"<?xml version='1.0'?><a><![CDATA[<]]></a>", "<\u00e9 \u00e9='\u20ac'>\u20ac</\u00e9>".encode(),
       b"<a:b xmlns:a='u'><a:c d='&lt;'/></a:b>"]


def damaged(rng, message):
    """One byte or a few changed, added, taken away, or a piece put elsewhere."""
    data = bytearray(message)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(5)
        byte = rng.choice([rng.randrange(256), rng.choice(message)])
        if how == 0 and at < len(data):
            data[at] = byte
        elif how == 1:
            data.insert(at, byte)
        elif how == 2 and at < len(data):
            del data[at]
        elif how == 3:
            del data[at:]
        else:
            data[at:at] = message[rng.randrange(len(message)):][:rng.randrange(6)]
    return bytes(data)


def json_takes(data):
    def number(text):
        value = float(text)
        if math.isinf(value):
            raise ValueError("too large")
        return value

    def constant(text):
        raise ValueError(text)

    try:
        value = json.loads(data.decode().removeprefix("\ufeff"), parse_float=number, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair
    except (ValueError, RecursionError):
        return False
    return True


def msgpack_takes(data):
    """None for what may be a timestamp of a length that there is none of: it wants to know what time that is."""
    if b"\xff" in data:
        return None
    try:
        msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=list, ext_hook=lambda code,
                        body: (code, body), timestamp=0)
    except msgpack.exceptions.StackError:
        return None
    except (ValueError, msgpack.exceptions.UnpackException):
        return False
    return True


def cbor_takes(data):
    """None where cbor2 is of no use: it looks into tags, wants keys that can be hashed, and takes simple values and
    equal keys as it likes."""
    if any(byte >> 5 in (6, 7) and byte not in (0xf4, 0xf5, 0xf6, 0xf9, 0xfa, 0xfb, 0xff) for byte in data):
        return None
    stream = io.BytesIO(data)
    try:
        cbor2.CBORDecoder(stream).decode()
    except TypeError:
        return None
    except (cbor2.CBORDecodeError, EOFError, OverflowError, MemoryError, UnicodeDecodeError):
        return False
    return stream.read() == b"" and (None if b"\xff" in data else True)  # it takes a break in many a wrong place


def xml_takes(data):
    if re.search(rb"<!DOCTYPE|<!ENTITY|encoding|version", data):
        return None
    try:
        xml.parsers.expat.ParserCreate().Parse(data, True)
    except xml.parsers.expat.ExpatError:
        return False
    return True


@pytest.mark.parametrize("form,seeds,takes", [("json", JSON, json_takes), ("cbor", CBOR, cbor_takes),
                                              ("msgpack", MSGPACK, msgpack_takes), ("xml", XML, xml_takes)])
def test_damaged_messages(tenon, form, seeds, takes):
    rng = random.Random(form)
    messages = [damaged(rng, rng.choice(seeds)) for _ in range(COUNT)]
    stream = b"".join(struct.pack(">I", len(message)) + message for message in messages)
    target = "json" if form in ("json", "xml") else "msgpack"
    result = tenon.run("convert", "--from", f"{form}/u32", "--to", target, "--on-bad=skip", input=stream,
                       status=REFUSED)
    refused = {int(number): line for number, line in
               ((re.search(r"message (\d+)", line)[1], line) for line in result.err.splitlines())}
    used, differing = 0, []
    for number, message in enumerate(messages, 1):
        verdict = takes(message)
        if verdict is None or "twice" in refused.get(number, ""):
            continue
        used += 1
        if verdict == (number in refused):
            differing.append((message, refused.get(number, "taken")))
    assert not differing, differing[:5]
    assert used > COUNT / 3 and len(refused) > COUNT / 3
    assert all(re.search(r"byte \d+", line) for line in refused.values())
