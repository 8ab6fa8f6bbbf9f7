"""Options of other tools: short options that mean the same, and true hints where there are none."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import BUILD, COMMAND

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
ROOT = Path(__file__).resolve().parents[2]
USAGE = 2


def tried(result):
    """The command line that is proposed, without the command's own path."""
    lines = [line for line in result.err.splitlines() if line.startswith("Try: ")]
    assert len(lines) == 1, result
    return lines[0].removeprefix(f"Try: {COMMAND} ")


@pytest.mark.parametrize("line,instead", [
    # nc, ncat
    ("-l 10000", "connect --listen tcp://*:10000"),
    ("-l -p 10000", "connect --listen tcp://*:10000"),
    ("-lvnp 8080", "connect --listen tcp://*:8080"),
    ("-nlvp 8080", "connect --listen tcp://*:8080"),
    ("-lu 53", "connect --listen udp://*:53"),
    ("-u -l 127.0.0.1 53", "connect --listen udp://127.0.0.1:53"),
    ("-k -l -4 53", "connect --listen --keep tcp4://*:53"),
    ("--listen 7", "connect --listen tcp://*:7"),
    ("-lU /tmp/x", "connect --listen unix:/tmp/x"),
    ("-u host 53", "connect udp://host:53"),
    ("-6 host 53", "connect tcp6://host:53"),
    ("-U /tmp/x", "connect unix:/tmp/x"),
    ("-w 3 host 53", "connect tcp://host:53"),
    ("-zv host 443", "ping --count 1 tcp://host:443"),
    ("-nzv -w 1 host 443", "ping --count 1 tcp://host:443"),
    ("-zv host 20-25", "ping tcp://host:20-25"),
    ("host 443", "connect tcp://host:443"),
    ("tcp://host:443", "connect 'tcp://host:443'"),
    ("serve -l 10000", "serve tcp://*:10000"),
    ("serve -u -p 53", "serve udp://*:53"),
    ("serve -lk 7", "serve tcp://*:7"),
    ("serve tcp://h:7 -e cat", "serve tcp://h:7 --handler 'exec:cat'"),
    ("serve tcp://h:7 --sh-exec cat", "serve tcp://h:7 --handler 'exec:cat'"),
    ("connect -u host 53", "connect udp://host:53"),
    ("connect host 53 -u", "connect udp://host:53"),
    ("connect -lu 53", "connect --listen udp://*:53"),
    ("connect -U /tmp/x", "connect unix:/tmp/x"),
    ("connect -z host 53", "ping --count 1 tcp://host:53"),
    ("connect -p 53 host", "connect tcp://host:53"),
    ("connect -4 tcp://host:53", "connect tcp4://host:53"),
    ("connect --ssl ::1 53", "connect tls://[::1]:53"),
    ("send -u host 53", "send udp://host:53"),
    ("send tcp://h:1 -4", "send tcp4://h:1"),
    # openssl s_client, curl
    ("connect -connect host:443", "connect tls://host:443"),
    ("connect -k tls://host:443", "connect 'tls://host:443?verify=off'"),
    ("connect --insecure tls://host:443", "connect 'tls://host:443?verify=off'"),
    ("connect tls://host:443 --cacert ca.pem", "connect 'tls://host:443?ca=ca.pem'"),
    ("send -d hello tcp://host:1", "send tcp://host:1 hello"),
    # ping, iperf3, wrk, tcpdump
    ("ping -4 host", "ping icmp4://host"),
    ("ping -t 5 host", "ping 'icmp://host?ttl=5'"),
    ("ping -u host 53", "ping udp://host:53"),
    ("bench -u host 53", "bench udp://host:53"),
    ("bench -P 8 tcp://host:53", "bench --conns 8 tcp://host:53"),
    ("bench -s", "serve tcp://*:5201 --handler count"),
    ("capture --interface eth0", "capture --iface eth0"),
    ("capture -B 4096", "capture --buffer 4096KiB"),
    ("capture -X", "capture -x"),
    ("listen 10000", "serve tcp://*:10000"),
    ("listen", "serve"),
    ("tcpdump", "capture"),
    ("toxiproxy-server", "relay --chaos-api http://localhost:8474"),
    ("iperf3 tcp://host:1", "bench tcp://host:1"),
])
def test_what_to_try(tenon, line, instead):
    result = tenon.finish([COMMAND, *line.split()], USAGE)
    assert tried(result) == instead and result.out == b""


@pytest.mark.parametrize("line,words", [
    ("serve -days", ["no option -d"]),
    ("cert new -days 9", ["-days", "--days"]),
    ("serve --handl", ["--handler"]),  # the only one that begins so
    ("serve -1", ["no option -1"]),
    ("send tcp://localhost:1 -5", ["no option -5", "after --"]),
    ("convert -f yaml -t json", ["no format 'yaml'; there are json"]),
    ("serve --handler cat tcp://127.0.0.1:0", ["'cat'", "exec:cat"]),
    ("serve --handler /bin/cat tcp://127.0.0.1:0", ["exec:/bin/cat"]),
    ("bench -c localhost -t 10", ["not a number", "tcp://HOST:PORT"]),
    ("serve --engine foo tcp://127.0.0.1:0", ["auto, uring, epoll"]),
])
def test_what_is_said(tenon, line, words):
    result = tenon.finish([COMMAND, *line.split()], USAGE)
    assert all(word in result.err for word in words), result
    assert "sim" not in result.err


# (URL, what the message must propose, at which part of the URL)
URLS = [
    ("tcp://localhost:1?TCP_NODELAY=1", "did you mean 'nodelay'?", "TCP_NODELAY"),
    ("tcp://localhost:1?tcp_nodelay=1", "did you mean 'nodelay'?", "tcp_nodelay"),
    ("tcp://localhost:1?NODELAY=1", "did you mean 'nodelay'?", "NODELAY"),
    ("tcp://localhost:1?SO_RCVBUF=1", "did you mean 'rcvbuf'?", "SO_RCVBUF"),
    ("tcp://localhost:1?so-keepalive=1", "did you mean 'keepalive'?", "so-keepalive"),
    ("udp://localhost:1?IPV6_TCLASS=1", "did you mean 'tos'?", "IPV6_TCLASS"),
    ("tcp://localhost:1?Frame=line", "did you mean 'frame'?", "Frame"),
    ("tls://localhost:1?cafile=x", "did you mean 'ca'?", "cafile"),
    ("tls://localhost:1?servername=x", "did you mean 'sni'?", "servername"),
    ("tls://localhost:1?insecure=1", "did you mean 'verify'?", "insecure"),
    ("tls://localhost:1?verify=no", "did you mean 'off'?", "no"),
    ("tls://localhost:1?verify=false", "did you mean 'off'?", "false"),
    ("tls://localhost:1?verify=none", "did you mean 'off'?", "none"),
    ("tls://localhost:1?verify=yes", "did you mean 'on'?", "yes"),
    ("tcp://localhost:1?format=jsn", "did you mean 'json'?", "jsn"),
    ("tcp://localhost:1?format=json&bad=ignore", "close|skip", "ignore"),
    ("tcp://localhost:1?format=json&bad=skp", "did you mean 'skip'?", "skp"),
    ("tcp://localhost:1?idle=5000h", "out of range (0 to 1000h)", "5000h"),
    ("tcp://localhost:1?connect=0", "out of range (1ms to 1000h)", "0"),
    ("tcp://localhost:1?max=2GiB", "out of range (1 to 1GiB)", "2GiB"),
    ("tcp://localhost:1?format=json&depth=2000", "out of range (1 to 1024)", "2000"),
    ("http://localhost", "did you mean 'ws://localhost:80'?", "http"),
    ("http://localhost:8080/index.html", "did you mean 'ws://localhost:8080'?", "http"),
    ("https://[::1]", "did you mean 'wss://[::1]:443'?", "https"),
    ("ssl://localhost:1", "did you mean 'tls'?", "ssl"),
    ("tls+tcp://localhost:1", "did you mean 'tls'?", "tls+tcp"),
    ("unixgram:/tmp/x", "did you mean 'unix-dgram'?", "unixgram"),
    ("TCP-LISTEN:8080", "did you mean 'tcp'?", "TCP-LISTEN"),
    ("openssl-connect:localhost:443", "did you mean 'tls'?", "openssl-connect"),
    ("tcp://localhost:1?format=yaml", "json xml cbor", "yaml"),
    ("UNIX-CONNECT:/tmp/x", "did you mean 'unix'?", "UNIX-CONNECT"),
]


@pytest.mark.parametrize("url,words,place", URLS, ids=[url for url, _, _ in URLS])
def test_urls(tenon, url, words, place):
    message = tenon.run("connect", url, status=USAGE).err.splitlines()[0]
    assert words in message and f"byte {url.rindex(place)}:" in message


def test_switches_take_the_same_words_everywhere(tenon):
    """Keys of the kernel's options and tenon's own."""
    for on, word in ((True, ["on", "yes", "true", "1"]), (False, ["off", "no", "false", "0"])):
        for value in word:
            lines = tenon.run("options", f"tcp://127.0.0.1:0?nodelay={value}&strict={value}", status=0).lines
            got = {line.split()[0]: line.split()[1] for line in lines}
            assert got["nodelay"] == got["strict"] == ("on" if on else "off")


@pytest.mark.parametrize("option,value,words", [
    ("--idle", "5000h", ["out of range", "1000h"]),
    ("--drain", "5000h", ["out of range", "1000h"]),
    ("--request", "5000h", ["out of range", "1000h"]),
    ("--idle", "99999999999999999999h", ["out of range"]),
    ("--idle", "1x", ["duration"]),
    ("--idle", "1s&max=1", ["no such value"]),
    ("--per-source", "99999999999", ["out of range"]),
    ("--accept-rate", "x", ["integer"]),
    ("--on-bad", "ignore", ["close|skip"]),
])
@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0?frame=line&format=json", "unix:{}/x?frame=line&format=json"])
def test_an_option_is_refused_as_its_key_is(tenon, url, option, value, words):
    url = url.format(tenon.folder)
    err = tenon.run("serve", url, option, value, status=USAGE).err
    assert option in err and all(word in err for word in words) and "bad URL" not in err, err
    key = "bad" if option == "--on-bad" else option[2:]
    if "&" not in value:
        assert all(word in tenon.run("serve", f"{url}&{key}={value}", status=USAGE).err for word in words)


@pytest.mark.parametrize("line,words", [
    ("udp://127.0.0.1:0 --idle 5s", ["--idle", "applies to streams only"]),
    ("udp://127.0.0.1:0 --per-source 5", ["--per-source", "applies to streams only"]),
    ("tcp://127.0.0.1:0 --request 5s", ["--request", "framed streams only"]),
])
def test_an_option_without_effect_is_told(tenon, line, words):
    err = tenon.run("serve", *line.split(), status=USAGE).err
    assert all(word in err for word in words)


def test_a_bad_value_with_endpoints_that_have_no_such_key(tenon):
    for urls in ([], ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"], ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]):
        assert "out of range" in tenon.finish([COMMAND, "serve", *urls, "--idle", "5000h"], USAGE).err


def test_an_option_for_some_of_the_endpoints(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", options=["--idle", "1000h", "--per-source", "0"])
    assert len(server.urls) == 2


@pytest.mark.parametrize("line", [
    "send --wait 5000h tcp://127.0.0.1:1 x", "connect --wait 5000h tcp://127.0.0.1:1", "ping --timeout 5000h 127.0.0.1",
    "bench --duration 5000h tcp://127.0.0.1:1", "inspect --watch 5000h",
])
def test_durations_end_alike(tenon, line):
    assert "out of range (0 to 1000h)" in tenon.finish([COMMAND, *line.split()], USAGE).err


def test_help_lists_every_scheme(tenon):
    page = tenon.finish([COMMAND, "--help"]).text
    listed = re.findall(r"[ \n]([a-z0-9+-]+):(?:/|[A-Z])", page[page.index("URLs: "):])
    said = tenon.run("serve", "gopher://x:1", status=USAGE).err.split("there are ")[1].splitlines()[0].split()
    assert sorted(listed) == sorted(said) and "dtls" in said and "tls+mptcp" in said
    manual = (ROOT / "docs/man/tenon-url.7").read_text()
    assert all(re.search(rf"\b{re.escape(scheme)}\b", manual) for scheme in said)


@pytest.mark.parametrize("line,option", [
    ("serve tcp://127.0.0.1:0 --handler echo --handler ack", "--handler"),
    ("serve tcp://127.0.0.1:0 --handler=echo --handler=echo", "--handler"),
    ("serve tcp://127.0.0.1:0 --idle 1s -i 2s", "--idle"),
    ("--engine epoll serve --engine uring", "--engine"),
    ("serve --color=never --color", "--color"),
    ("ping -c 1 --count 2 localhost", "--count"),
    ("convert --from json --to cbor -t xml", "--to"),
    ("bench --rate 1 --rate 2 tcp://localhost:1", "--rate"),
    ("capture --iface a -i b", "--iface"),
    ("send --wait 1 -w 2 tcp://localhost:1 x", "--wait"),
    ("inspect --watch 1 --watch 2", "--watch"),
    ("cert new --days 1 --days 2 --out x", "--days"),
])
def test_a_value_is_given_once(tenon, line, option):
    """The first would have no effect, and nobody would be told."""
    result = tenon.finish([COMMAND, *line.split()], USAGE)
    assert "is given twice" in result.err and option in result.err


@pytest.mark.parametrize("line, remedy", [
    ("serve tcp://127.0.0.1:0 --log-file --help", "--log-file=--help"),
    ("serve tcp://127.0.0.1:0 --log-file -q", "--log-file=-q"),
    ("serve tcp://127.0.0.1:0 --log-file --threads=2", "--log-file=--threads=2"),
    ("relay tcp://127.0.0.1:0 tcp://127.0.0.1:1 --record --json", "--record=--json"),
    ("capture -w --json", "-w--json"),
    ("cert new --host a.test --out --days 3", "--out=--days"),
    ("--engine --verbose serve", "--engine=--verbose"),
])
def test_an_option_is_no_value(tenon, line, remedy):
    """The value was forgotten: nothing is made of that name."""
    result = tenon.finish([COMMAND, *line.split()], USAGE, cwd=tenon.folder)
    assert remedy in result.err
    assert not [name for name in os.listdir(tenon.folder) if name.startswith("-")]


def test_an_option_as_a_value_on_purpose(tenon):
    folder = tenon.folder / "on-purpose"
    folder.mkdir()
    for args in (["--out=--days"], ["--out", "--dais"]):  # the latter is no option
        tenon.finish([COMMAND, "cert", "new", "--host", "a.test", *args], cwd=folder)
    assert sorted(os.listdir(folder)) == ["--dais", "--days"]


def test_a_list_is_given_in_parts(tenon):
    tenon.finish([COMMAND, "cert", "new", "--out", tenon.folder / "certs", "--host", "a.test", "--host", "b.test"])


def test_letters_with_values(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    for options in (["-w", "10s"], ["-w10s"], ["-qw10s"], ["-q", "-w", "10"], ["-w10", "-c2"]):
        text = tenon.finish([COMMAND, "send", *options, server.url, "hello"]).text
        assert text == "ack: hello\n" * (2 if "-c2" in options else 1)
    assert "needs a value" in tenon.finish([COMMAND, "send", server.url, "-w"], USAGE).err
    result = tenon.finish([COMMAND, "ping", "-n", "-c2", "-i0.01", "-W", "10", "-q", server.url])
    assert "2 sent" in result.text
    assert tenon.finish([COMMAND, "-V"]).text == tenon.finish([COMMAND, "--version"]).text
    text = tenon.finish([COMMAND, "convert", "-f", "json", "-t", "json"], input=b"[1 ]").text
    assert text == "[1]\n"


def test_nothing_typed(tenon):
    """A page that helps, and the status of a command line that says nothing."""
    result = tenon.finish([COMMAND], USAGE)
    assert result.text == tenon.finish([COMMAND, "--help"]).text and result.err == ""


def tables():
    """The options of each command, as its source has them: {(letter, name): takes a value}."""
    found = {}
    for source in sorted((ROOT / "cmd").rglob("*.c")):
        text = source.read_text()
        command = re.search(r'^const struct command (\w+)_command = \{', text, re.M)
        table = re.search(r'^static const struct option_spec own_options\[\] = \{(.*?)^\};', text, re.M | re.S)
        if command and table:
            rows = re.findall(r'\{"([a-z0-9-]*)",\s*(?:\'(.)\'|0),\s*(OPTION_\w+),', table[1])
            found[command[1]] = {(letter, name): takes != "OPTION_ALONE" for name, letter, takes in rows}
    return found


TABLES = tables()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_help_manual_and_table_agree(tenon, name):
    help_text = subprocess.run([COMMAND, name, "--help"], stdout=subprocess.PIPE, check=False).stdout.decode()
    if "Usage:" not in help_text:
        pytest.skip("not in this build")
    own = help_text[help_text.index("\nOptions:\n"):help_text.index("\nEvery command takes:")]
    manual = (ROOT / "docs/man" / f"tenon-{name}.1").read_text()
    items = "\n".join(re.findall(r"^\.(?:It|Op) (.*)$", manual, re.M))
    assert TABLES[name]
    for letter, long in TABLES[name]:
        if long:
            assert re.search(rf"^  .*--{long}\b", own, re.M), f"--help of {name} leaves --{long} out"
            assert re.search(rf"Fl -{long}\b", items), f"tenon-{name}(1) leaves --{long} out"
        if letter:
            typed = rf"-{letter}, --{long}\b" if long else rf"-{letter}\b"
            assert re.search(rf"^  .*{typed}", own, re.M), f"--help of {name} leaves -{letter} out"
            typed = rf"Fl {letter} , Fl -{long}\b" if long else rf"Fl {letter}\b"
            assert re.search(typed, items), f"tenon-{name}(1) leaves -{letter} out"
    known = {long for _, long in TABLES[name]} | {"help", "version", "verbose", "quiet", "color", "engine"}
    for long in re.findall(r"^\s+(?:-\w, )?--([a-z-]+)", own, re.M) + re.findall(r"Fl -([a-z][a-z-]*)", items):
        assert long in known, f"tenon {name} has no --{long}"
    letters = {letter for letter, _ in TABLES[name]} | set("hqvV")
    for letter in re.findall(r"^\s+-(\w)\b", own, re.M) + re.findall(r"\bFl (\w)\b", items):
        assert letter in letters, f"tenon {name} has no -{letter}"


@pytest.mark.skipif("TENON_SANITIZED" in os.environ, reason="Python does not load a library with sanitizers")
def test_manual_lists_what_the_tables_have(engine):
    """scripts/man-tables writes the lists of schemes, frames, formats and keys."""
    done = subprocess.run([ROOT / "scripts/man-tables", "--check", BUILD], stdout=subprocess.PIPE, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout


def test_manual_pages_are_installed_and_sound(engine):
    """Each is in the build's list, what it refers to is there, and mandoc has nothing to say."""
    pages = sorted(path.name for path in (ROOT / "docs/man").glob("*.[17]"))
    assert len([page for page in pages if page.endswith(".7")]) >= 4
    listed = re.findall(r"'(tenon[\w-]*\.[17])'", (ROOT / "docs/man/meson.build").read_text())
    assert sorted(listed) == pages
    for page in pages:
        text = (ROOT / "docs/man" / page).read_text()
        for name, section in re.findall(r"^\.Xr (tenon[\w-]*) (\d)", text, re.M):
            assert section == "3" or f"{name}.{section}" in pages, f"{page} refers to {name}({section})"
        heads = set(re.findall(r"^\.S[hs] (.*)", text, re.M))
        assert set(re.findall(r"^\.Sx ([^.,;)]*?) *[.,;)]*$", text, re.M)) <= heads, page
    if shutil.which("mandoc"):
        said = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *pages], cwd=ROOT / "docs/man",
                              stdout=subprocess.PIPE, text=True, check=False).stdout
        # Our pages of section 1 begin with examples; the tables' texts may have several sentences in a line
        assert not [line for line in said.splitlines() if not re.search(r"order: Sh DESC|new sentence", line)]


def test_manual_tells_every_member_of_events(engine):
    """... and of the log, /status and /connections: tenon-events(7)."""
    page = (ROOT / "docs/man/tenon-events.7").read_text()
    sources = ["serve/events.c", "relay/events.c", "relay/relay.c", "hub/events.c", "hub/hub.c", "admin/status.c",
               "common/report.c", "common/log.c"]
    members = {member for source in sources for member in re.findall(
        r'\bjson_\w+\([^,;()]+, "(\w+)"', (ROOT / "cmd" / source).read_text())}
    assert len(members) > 60
    assert not [member for member in sorted(members) if not re.search(rf"\b{member}\b", page)]


def test_manual_has_a_page_for_every_function(engine, tmp_path):
    """scripts/man-header writes section 3 from the comments of the headers."""
    headers = sorted((ROOT / "include").glob("*.h"))
    subprocess.run([ROOT / "scripts/man-header", "--out", tmp_path, *headers], check=True)
    functions = {name for header in headers
                 for name in re.findall(r"^(?:TN_API|TN_SIZED)[^;{]*?\b(tn_\w+)\(", header.read_text(), re.M)}
    assert len(functions) > 100
    for name in functions:
        page = (tmp_path / f"{name}.3").read_text()
        while page.startswith(".so "):
            page = (tmp_path / Path(page.split()[1]).name).read_text()
        assert re.search(rf"^\.Nm {name}\b", page, re.M), name
        synopsis, words = re.search(r"\.Sh SYNOPSIS(.*)\.Sh DESCRIPTION(.*)\.Sh SEE ALSO", page, re.S).groups()
        assert f"{name}(" in synopsis and re.search(r"^[A-Z0-9\"]", words.strip(), re.M), f"{name} is not described"
    if shutil.which("mandoc"):
        (tmp_path / "man3").symlink_to(tmp_path)
        said = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *(f"man3/{n}.3" for n in sorted(functions))],
                              cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False).stdout
        assert not [line for line in said.splitlines() if ".so is fragile" not in line]


@pytest.mark.parametrize("host", ["::1", "[::1]", "::1%lo", "[::1%lo]", "127.0.0.1", "localhost"])
def test_a_host_and_a_port_in_two_arguments(tenon, host):
    server = tenon.serve("tcp://localhost:0", listeners=2)
    for command, rest in (("connect", []), ("send", ["hi"]), ("ping", ["--count", 1]),
                          ("bench", ["-n", 10, "--conns", 1])):
        tenon.run(command, host, server.port, *rest)
    assert tenon.serve(host, 0, listeners=2 if host == "localhost" else 1).url.startswith("tcp://")


@pytest.mark.parametrize("host, why", [
    ("[::g]", "not an IPv6 address"), ("[127.0.0.1]", "in brackets stands an IPv6 address"),
    ("[::1]x", "one URL, please"), ("[::1", "one URL, please"), ("[::1]?nodelay", "one URL, please"),
    ("tcp://[::1]", "one URL, please"),
])
def test_no_host(tenon, host, why):
    assert why in tenon.run("connect", host, 1, status=2).err


def test_an_option_gives_way_to_its_key_in_any_spelling(tenon):
    """%6c is an l."""
    tenon.serve("tcp://127.0.0.1:0?id%6ce=5s", options=["--idle", "7s"]).stop()
