"""Values that Python has no type for, and those that formats express in their own ways."""

import collections
import struct


class Tag(collections.namedtuple("Tag", "number value")):
    """CBOR: a number (0 to 2^64-1) and the value that it qualifies (RFC 8949 3.4)."""

    __slots__ = ()


class Ext(collections.namedtuple("Ext", "type data")):
    """MessagePack: an application's type (-128 to 127) and its bytes."""

    __slots__ = ()


class Simple(collections.namedtuple("Simple", "number")):
    """CBOR: a simple value beside false, true and null; 23 is undefined (RFC 8949 3.3)."""

    __slots__ = ()


UNDEFINED = Simple(23)

# CBOR's tags: RFC 8949 3.4
_TEXT_TIME, _EPOCH_TIME, _BIG, _BIG_NEGATIVE = 0, 1, 2, 3
_TIMESTAMP = -1  # MessagePack's extension
_INT_BITS = 4096  # the longest integer of the library


def from_tag(number, value):
    """Integers and times as such, where they lose nothing; all else as a Tag."""
    if number in (_BIG, _BIG_NEGATIVE) and isinstance(value, bytes):
        big = int.from_bytes(value, "big")
        if big.bit_length() <= _INT_BITS:
            return big if number == _BIG else -1 - big
    if number in (_TEXT_TIME, _EPOCH_TIME):
        import datetime

        try:
            if number == _TEXT_TIME and isinstance(value, str):
                return datetime.datetime.fromisoformat(value)
            if number == _EPOCH_TIME and isinstance(value, (int, float)) and not isinstance(value, bool):
                return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        except (ValueError, OverflowError, OSError):
            pass
    return Tag(number, value)


def _timestamp(data):
    if len(data) == 4:
        nanoseconds, seconds = 0, struct.unpack(">I", data)[0]
    elif len(data) == 8:
        both = struct.unpack(">Q", data)[0]
        nanoseconds, seconds = both >> 34, both & (1 << 34) - 1
    elif len(data) == 12:
        nanoseconds, seconds = struct.unpack(">Iq", data)
    else:
        return None
    if nanoseconds % 1000 or nanoseconds >= 10**9:
        return None  # finer than a datetime
    import datetime

    try:
        return (datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
                + datetime.timedelta(seconds=seconds, microseconds=nanoseconds // 1000))
    except OverflowError:
        return None


def from_ext(kind, data):
    """A timestamp as a datetime, where it loses nothing; all else as an Ext."""
    time = _timestamp(data) if kind == _TIMESTAMP else None
    return Ext(kind, data) if time is None else time


def as_key(value):
    """A list or a map as what can be a key of a dict."""
    if isinstance(value, list):
        return tuple(map(as_key, value))
    if isinstance(value, dict):
        return frozenset((as_key(k), as_key(v)) for k, v in value.items())
    if isinstance(value, Tag):
        return Tag(value.number, as_key(value.value))
    return value


def _time(form, value):
    import datetime

    if form == "cbor" and value.tzinfo is not None and not value.microsecond:
        return "tag", _EPOCH_TIME, int(value.timestamp())
    if form == "cbor":
        return "tag", _TEXT_TIME, value.isoformat()
    if form == "msgpack" and value.tzinfo is not None:
        past = value - datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
        seconds, nanoseconds = past.days * 86400 + past.seconds, past.microseconds * 1000
        if 0 <= seconds < 1 << 34:
            data = struct.pack(">Q", nanoseconds << 34 | seconds)
        else:
            data = struct.pack(">Iq", nanoseconds, seconds)
        return "ext", _TIMESTAMP, data
    return value.isoformat()


def lower(form, value):
    """A value that the extension does not know, as one that it knows, or as ("tag" | "ext" | "simple", number,
    content)."""
    if isinstance(value, Tag):
        return "tag", value.number, value.value
    if isinstance(value, Ext):
        if not -128 <= value.type <= 127:
            raise ValueError(f"Ext.type is -128 to 127, not {value.type}")
        return "ext", value.type, bytes(value.data)
    if isinstance(value, Simple):
        if not 0 <= value.number <= 255 or 20 <= value.number <= 22 or 24 <= value.number <= 31:
            raise ValueError(f"there is no simple value {value.number}")
        return "simple", value.number, None
    if isinstance(value, int):
        number = int(value)
        if -1 << 63 <= number < 1 << 64:
            return number
        tag, big = (_BIG, number) if number > 0 else (_BIG_NEGATIVE, -1 - number)
        if big.bit_length() > _INT_BITS:
            raise OverflowError(f"an integer of more than {_INT_BITS} bits")
        return "tag", tag, big.to_bytes((big.bit_length() + 7) // 8, "big")
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return "".join(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if hasattr(value, "isoformat") and hasattr(value, "tzinfo") and hasattr(value, "year"):
        return _time(form, value)
    raise TypeError(f"{type(value).__name__} is no value of a format")
