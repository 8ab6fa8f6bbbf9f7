#include "endpoint/keys.h"

#include "base/clock.h"
#include "base/meaning.h"
#include "endpoint/web.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

#define BOTH (TNI_ROLE_SERVE | TNI_ROLE_DIAL)
#define HOUR_NS (3600 * TNI_NS_PER_S)
#define FIELD(name) offsetof(struct tni_endpoint, name), TNI_IN_ENDPOINT
#define TLS(name) offsetof(struct tni_creds_spec, name), TNI_IN_TLS
#define ACCESS(name) offsetof(struct tni_access_spec, name), TNI_IN_ACCESS
#define DEVICE(name) offsetof(struct tni_device_spec, name), TNI_IN_DEVICE
#define WEB(name) offsetof(struct tni_web_spec, name), TNI_IN_WEB

static const struct tni_key keys[] = {
	{"frame", &tni_key_frame, FIELD(frame), 0, 0, BOTH, TNI_ON_STREAMS, NULL, "streams",
	 TNI_MEANING("where a message ends in the stream of bytes (default none, or what the format has)")},
	{"format", &tni_key_format, FIELD(codec), 0, 0, BOTH, TNI_ON_ALL, NULL, "all",
	 TNI_MEANING("what each message must be; others are refused (default raw: anything)")},
	{"bad", &tni_key_bad, FIELD(bad), 0, 0, BOTH, TNI_ON_CONNS, "close|skip", "streams, dtls",
	 TNI_MEANING("what a message that its format refuses does: closes the connection, or is skipped "
		     "(default: a handler's, or close)")},
	{"depth", &tni_key_count, FIELD(codec_opts.max_depth), 1, TNI_DEPTH_MAX, BOTH, TNI_ON_ALL, "integer 1..1024",
	 "all, with a format", TNI_MEANING("how deep a message may nest arrays, maps and the like (default 128)")},
	{"strict", &tni_key_switch, FIELD(codec_opts.strict), 0, 0, BOTH, TNI_ON_ALL, "on|off", "all, with a format",
	 TNI_MEANING("refuses what formats leave open, such as duplicate keys in JSON (default off)")},
	{"jsonml", &tni_key_switch, FIELD(codec_opts.jsonml), 0, 0, BOTH, TNI_ON_ALL, "on|off", "all, with format=xml",
	 TNI_MEANING("every XML document is read and written as JsonML, whatever its root element "
		     "(default off)")},
	{"max", &tni_key_size, FIELD(frame.max), 1, 1 << 30, BOTH, TNI_ON_ALL, "size 1..1GiB", "all",
	 TNI_MEANING("longest message that is sent or accepted (default 1MiB)")},
	{"queue", &tni_key_size, FIELD(queue), 1, 1 << 30, BOTH, TNI_ON_ALL, "size 1..1GiB", "all",
	 TNI_MEANING("mark of the outgoing queue: past it the connection is not read from (default 128KiB)")},
	{"idle", &tni_key_duration, FIELD(idle_ns), 0, 1000 * HOUR_NS, BOTH, TNI_ON_CONNS, "duration, 0 = never",
	 "streams, dtls",
	 TNI_MEANING("closes a connection on which nothing has come or gone for so long (default 0; dtls, "
		     "served: 5m)")},
	{"connect", &tni_key_duration, FIELD(connect_ns), TNI_NS_PER_MS, 1000 * HOUR_NS, TNI_ROLE_DIAL, TNI_ON_ALL,
	 "duration", "all, dialled",
	 TNI_MEANING("gives up dialling after so long, name lookup included (default 30s)")},
	{"bind", &tni_key_bind, FIELD(bind), 0, 0, TNI_ROLE_DIAL, TNI_ON_IP,
	 "ADDRESS, :PORT or ADDRESS:PORT, or a range: LOW-HIGH", "IP, dialled",
	 TNI_MEANING("the address of this machine, the port or one of a range of ports, or both that connecting comes "
		     "from (default :0, the kernel's choice)")},
#ifdef TNI_HAVE_RECONNECT
	{"reconnect", &tni_key_pause, ACCESS(again_least_ns), TNI_NS_PER_MS, 1000 * HOUR_NS, TNI_ROLE_DIAL,
	 TNI_ON_AGAIN, "duration, or from-to: 100ms-10s", "streams, dialled",
	 TNI_MEANING("dials again when the connection is lost or cannot be had, after pauses that double from the "
		     "first duration to the second (default of that: 30s; programs that know it)")},
	{"reconnect-tries", &tni_key_count, ACCESS(again_tries), 0, INT_MAX, TNI_ROLE_DIAL, TNI_ON_AGAIN,
	 "integer, 0 = no limit", "streams, dialled, with reconnect",
	 TNI_MEANING("gives up after so many attempts in a row (default 0)")},
	{"heartbeat", &tni_key_heartbeat, ACCESS(heartbeat), 2 * TNI_NS_PER_MS, 1000 * HOUR_NS, BOTH, TNI_ON_STREAMS,
	 "duration, or duration:message", "framed streams",
	 TNI_MEANING("sends this message (default: an empty one) when nothing else was sent for so long; nothing that "
		     "comes for twice as long ends the connection")},
#endif
	{"drain", &tni_key_duration, FIELD(drain_ns), 0, 1000 * HOUR_NS, BOTH, TNI_ON_CONNS, "duration",
	 "streams, dtls", TNI_MEANING("how long a closing connection may take to send what is queued (default 5s)")},
	{"backlog", &tni_key_count, FIELD(backlog), 1, 1 << 20, TNI_ROLE_SERVE, TNI_ON_STREAMS, "integer 1..1048576",
	 "streams, served",
	 TNI_MEANING("connections that may wait to be accepted (default 4096; capped by "
		     "net.core.somaxconn)")},
	{"per-source", &tni_key_count, FIELD(per_source), 0, INT_MAX, TNI_ROLE_SERVE, TNI_ON_CONNS,
	 "integer, 0 = no limit", "streams, dtls, served",
	 TNI_MEANING("connections that one address (IPv6: one /64; Unix: one user) may hold; more are "
		     "closed at once (default 0)")},
	{"accept-rate", &tni_key_count, FIELD(accept_rate), 0, INT_MAX, TNI_ROLE_SERVE, TNI_ON_CONNS,
	 "integer, 0 = no limit", "streams, dtls, served",
	 TNI_MEANING("new connections a second; more wait to be accepted (default 0)")},
	{"request", &tni_key_duration, FIELD(request_ns), 0, 1000 * HOUR_NS, TNI_ROLE_SERVE, TNI_ON_STREAMS,
	 "duration, 0 = never", "framed streams, served",
	 TNI_MEANING("closes a connection on which a message that has begun is not whole after so long "
		     "(default 1m)")},
#ifdef TNI_HAVE_ACCESS
	{"allow", &tni_key_cidrs, ACCESS(allow), 0, 0, TNI_ROLE_SERVE, TNI_ON_ADDRS,
	 "address, network, unix, user:NAME, group:NAME or file, or several: a,b", "IP and Unix, served",
	 TNI_MEANING("who may connect, and nobody else; a file, /path or ./path, has one a line (default: "
		     "everybody)")},
	{"deny", &tni_key_cidrs, ACCESS(deny), 0, 0, TNI_ROLE_SERVE, TNI_ON_ADDRS,
	 "address, network, unix, user:NAME, group:NAME or file, or several: a,b", "IP and Unix, served",
	 TNI_MEANING("who may not connect, even if allow has them")},
#endif
#ifdef TNI_HAVE_PROXY
	{"proxy", &tni_key_proxy, FIELD(proxy), 0, 0, BOTH, TNI_ON_PROXIED, "off|accept, dialled: off|v1|v2",
	 "streams, udp",
	 TNI_MEANING("a header of the PROXY protocol stands in front: it must come, or is sent (udp: v2, "
		     "in each datagram; default off)")},
	{"trust", &tni_key_cidrs, ACCESS(trust), 0, 0, TNI_ROLE_SERVE, TNI_ON_PROXIED,
	 "address, network, unix or file, or several: a,b", "streams, udp, served, with proxy=accept",
	 TNI_MEANING("who may send PROXY headers; all others are refused (unix: default unix)")},
	{"proxy-tlv", &tni_key_tlvs, ACCESS(tlvs), 0, 0, TNI_ROLE_DIAL, TNI_ON_PROXIED,
	 "crc32c, unique-id, 0xNN:text, or several: a,b", "streams, udp, dialled, with proxy=v2",
	 TNI_MEANING("what the header has besides what is known of the client: a checksum, an ID, TLVs of "
		     "one's own")},
	{"allow-to", &tni_key_cidrs, ACCESS(allow_to), 0, 0, BOTH, TNI_ON_REACH,
	 "address, network, public or file, or several: a,b", "proxy; IP, dialled",
	 TNI_MEANING("addresses that may be connected to, and no others; public: all but those of this host, of "
		     "private networks, links, groups and the like (default: proxy public; dialled: all)")},
	{"deny-to", &tni_key_cidrs, ACCESS(deny_to), 0, 0, BOTH, TNI_ON_REACH,
	 "address, network, public or file, or several: a,b", "proxy; IP, dialled",
	 TNI_MEANING("addresses that may not be connected to, even if allow-to has them")},
	{"ports", &tni_key_ports, ACCESS(ports), 0, 0, TNI_ROLE_SERVE, TNI_ON_GATE,
	 "port or range, or several: 443,8000-8999", "proxy",
	 TNI_MEANING("ports that clients may ask for (default: all)")},
	{"users", &tni_key_text, ACCESS(users), 0, 0, TNI_ROLE_SERVE, TNI_ON_GATE, "file of lines NAME:PASSWORD",
	 "proxy", TNI_MEANING("who may ask, by SOCKS5 or HTTP's Basic (default: everybody)")},
	{"via", &tni_key_via, ACCESS(via), 0, 0, TNI_ROLE_DIAL, TNI_ON_VIA, "URL of a proxy, or several: a,b; env",
	 "tcp, mptcp, tls, ws, dialled",
	 TNI_MEANING("goes through these proxies, one behind the other: socks5h://, socks5://, socks4a://, "
		     "http:// or https://, or with +unix:/path")},
#endif
#if defined(TNI_HAVE_TLS) || defined(TNI_HAVE_PROXY)
	{"auth", &tni_key_text, ACCESS(auth), 0, 0, TNI_ROLE_DIAL, TNI_ON_AUTH, "file",
	 "ws, and proxies of via, dialled",
	 TNI_MEANING("who we are: the file's first line is user:password (Basic) or a token (Bearer)")},
#endif
	{"mode", &tni_key_mode, FIELD(mode), 0, 0777, TNI_ROLE_SERVE, TNI_ON_PATH, "octal 0..777", "unix, served",
	 TNI_MEANING("permissions of the socket's file; who may write may connect (default 777 without "
		     "the umask)")},
	{"user", &tni_key_user, FIELD(user), 0, 0, TNI_ROLE_SERVE, TNI_ON_PATH, "name or number", "unix, served",
	 TNI_MEANING("owner of the socket's file")},
	{"group", &tni_key_group, FIELD(group), 0, 0, TNI_ROLE_SERVE, TNI_ON_PATH, "name or number", "unix, served",
	 TNI_MEANING("group of the socket's file")},
#ifdef TNI_HAVE_SHM
	{"ring", &tni_key_ring, FIELD(ring), 4096, 1 << 30, TNI_ROLE_SERVE, TNI_ON_MEMORY, "size 4KiB..1GiB",
	 "shm, served",
	 TNI_MEANING("bytes of each of a connection's two rings, rounded up to a power of two (default 64KiB)")},
#endif
#ifdef TNI_HAVE_SEGMENTS
	{"gso", &tni_key_switch, FIELD(gso), 0, 0, BOTH, TNI_ON_UDP, "on|off", "udp, dtls",
	 TNI_MEANING("datagrams of one length to one peer, up to 64, are handed to the kernel as one, which takes them "
		     "apart again (default off)")},
	{"gro", &tni_key_switch, FIELD(gro), 0, 0, BOTH, TNI_ON_UDP, "on|off", "udp, dtls",
	 TNI_MEANING("the kernel may hand over datagrams of one length from one peer as one; they are taken apart here "
		     "(default off)")},
#endif
#ifdef TNI_HAVE_FILES
	{"open", &tni_key_opened, DEVICE(opened), 0, 0, TNI_ROLE_DIAL, TNI_ON_FILE, "read|follow|write|append", "file",
	 TNI_MEANING("what is done with the file; follow: read, then what is added or put in its place; write: made "
		     "empty first (default read)")},
	{"baud", &tni_key_count, DEVICE(baud), 0, 100000000, TNI_ROLE_DIAL, TNI_ON_TTY, "integer, 0 = as it is",
	 "tty, pty", TNI_MEANING("speed of the line in both directions (default 0)")},
	{"databits", &tni_key_count, DEVICE(databits), 5, 8, TNI_ROLE_DIAL, TNI_ON_TTY, "integer 5..8", "tty, pty",
	 TNI_MEANING("bits of a byte (default 8)")},
	{"parity", &tni_key_parity, DEVICE(parity), 0, 0, TNI_ROLE_DIAL, TNI_ON_TTY, "none|even|odd|mark|space",
	 "tty, pty", TNI_MEANING("a bit behind those (default none)")},
	{"stopbits", &tni_key_count, DEVICE(stopbits), 1, 2, TNI_ROLE_DIAL, TNI_ON_TTY, "integer 1..2", "tty, pty",
	 TNI_MEANING("the pause behind a byte (default 1)")},
	{"flow", &tni_key_flow, DEVICE(flow), 0, 0, TNI_ROLE_DIAL, TNI_ON_TTY, "none|rtscts|xonxoff", "tty, pty",
	 TNI_MEANING("how a side that cannot keep up stops the other (default none)")},
	{"ignbrk", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, IGNBRK, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off",
	 "tty, pty", TNI_MEANING("a break is ignored (default off)")},
	{"brkint", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, BRKINT, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off",
	 "tty, pty", TNI_MEANING("a break interrupts (default off)")},
	{"parmrk", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, PARMRK, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off",
	 "tty, pty", TNI_MEANING("bytes with wrong parity are marked: 255, 0, the byte (default off)")},
	{"inpck", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, INPCK, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("parity is checked (default on with parity)")},
	{"istrip", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, ISTRIP, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off",
	 "tty, pty", TNI_MEANING("the eighth bit is taken off (default off)")},
	{"inlcr", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, INLCR, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("a line feed that comes becomes a carriage return (default off)")},
	{"igncr", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, IGNCR, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("carriage returns that come are left out (default off)")},
	{"icrnl", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, ICRNL, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("a carriage return that comes becomes a line feed (default off)")},
	{"ixany", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_IFLAG, IXANY, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("any byte starts stopped output again (default off)")},
	{"opost", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_OFLAG, OPOST, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("what is sent is processed, as the next two say (default off)")},
	{"onlcr", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_OFLAG, ONLCR, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("with opost: a line feed is sent as carriage return and line feed (default off)")},
	{"ocrnl", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_OFLAG, OCRNL, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("with opost: a carriage return is sent as a line feed (default off)")},
	{"clocal", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_CFLAG, CLOCAL, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off",
	 "tty, pty", TNI_MEANING("the lines of a modem are ignored (default on)")},
	{"hupcl", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_CFLAG, HUPCL, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("DTR and RTS fall when the last one closes the device (default: as it is)")},
	{"echo", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_LFLAG, ECHO, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("what comes is sent back (default off)")},
	{"icanon", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_LFLAG, ICANON, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off",
	 "tty, pty", TNI_MEANING("whole lines are read, and can be edited (default off)")},
	{"isig", &tni_key_termios, 0, TNI_IN_DEVICE, TNI_LFLAG, ISIG, TNI_ROLE_DIAL, TNI_ON_TTY, "on|off", "tty, pty",
	 TNI_MEANING("Ctrl-C and the like are signals (default off)")},
#endif
#ifdef TNI_HAVE_TLS
	{"cert", &tni_key_text, TLS(cert), 0, 0, BOTH, TNI_ON_TLS, "file, or several: a,b", "tls, dtls",
	 TNI_MEANING("our certificate and those that vouch for it, PEM; a server may have several, chosen "
		     "by name")},
	{"key", &tni_key_text, TLS(key), 0, 0, BOTH, TNI_ON_TLS, "file, or several: a,b", "tls, dtls",
	 TNI_MEANING("the private key of each certificate, PEM (default: in the file of cert)")},
	{"key-pass-file", &tni_key_text, TLS(key_pass_file), 0, 0, BOTH, TNI_ON_TLS, "file, or several: a,b",
	 "tls, dtls",
	 TNI_MEANING("its first line is the passphrase that opens the private key; of several keys each "
		     "has one, or all")},
	{"ca", &tni_key_text, TLS(ca), 0, 0, BOTH, TNI_ON_TLS, "file", "tls, dtls",
	 TNI_MEANING("the authorities that may vouch for the peer, PEM (clients' default: those of the "
		     "system)")},
	{"crl", &tni_key_text, TLS(crl), 0, 0, BOTH, TNI_ON_TLS, "file or folder", "tls, dtls",
	 TNI_MEANING("revocation lists, PEM or DER; the issuer of the peer's certificate must have one "
		     "there")},
	{"verify", &tni_key_verify, TLS(verify), 0, 0, BOTH, TNI_ON_TLS, "on|off, served: require|optional|off",
	 "tls, dtls",
	 TNI_MEANING("whether the peer must prove who it is (default: clients on; servers require with "
		     "ca, otherwise off)")},
	{"pin", &tni_key_text, TLS(pin), 0, 0, BOTH, TNI_ON_TLS, "SHA-256 in hexadecimal or base64, or several: a,b",
	 "tls, dtls", TNI_MEANING("the peer's public key must be one of these; with verify=off that is enough")},
	{"sni", &tni_key_text, TLS(sni), 0, 0, TNI_ROLE_DIAL, TNI_ON_TLS, "name", "tls, dtls, dialled",
	 TNI_MEANING("the name that is asked for and must stand in the certificate (default: the URL's "
		     "host)")},
	{"alpn", &tni_key_text, TLS(alpn), 0, 0, BOTH, TNI_ON_TLS, "name, or several: a,b", "tls, dtls",
	 TNI_MEANING("application protocols, the favourite first; a server takes the first that the "
		     "client offers too")},
	{"psk-file", &tni_key_text, TLS(psk_file), 0, 0, BOTH, TNI_ON_TLS, "file of lines IDENTITY:HEXKEY", "tls, dtls",
	 TNI_MEANING("pre-shared keys; a client uses the first line")},
	{"tls-min", &tni_key_tls_version, TLS(min_version), 0, 0, BOTH, TNI_ON_TLS, "1.2|1.3", "tls, dtls",
	 TNI_MEANING("oldest version that is spoken (default 1.2)")},
	{"tls-max", &tni_key_tls_version, TLS(max_version), 0, 0, BOTH, TNI_ON_TLS, "1.2|1.3", "tls, dtls",
	 TNI_MEANING("newest version that is spoken (default 1.3; dtls: 1.2)")},
	{"groups", &tni_key_text, TLS(groups), 0, 0, BOTH, TNI_ON_TLS, "name, or several: a:b", "tls, dtls",
	 TNI_MEANING("groups for the exchange of keys, the favourite first (default "
		     "X25519:P-256:X448:P-384:P-521, before them X25519MLKEM768 where OpenSSL has it)")},
	{"ciphers", &tni_key_text, TLS(ciphers), 0, 0, BOTH, TNI_ON_TLS, "name, or several: a:b", "tls, dtls",
	 TNI_MEANING("ciphers by OpenSSL's names, those of TLS 1.3 begin with TLS_ (default: forward "
		     "secrecy and AEAD only)")},
	{"sigalgs", &tni_key_text, TLS(sigalgs), 0, 0, BOTH, TNI_ON_TLS, "name, or several: a:b", "tls, dtls",
	 TNI_MEANING("signature algorithms by OpenSSL's names (default: ECDSA, EdDSA and RSA with SHA-256 "
		     "and longer)")},
	{"tickets", &tni_key_count, TLS(tickets), 0, 16, BOTH, TNI_ON_TLS, "integer 0..16", "tls, dtls",
	 TNI_MEANING("served: tickets that each client gets to resume with; 0: none can. Dialled: 0: "
		     "nothing is resumed (default 2)")},
#endif
#if defined(TNI_HAVE_TLS) || defined(TNI_HAVE_PROXY)
	{"handshake", &tni_key_duration, FIELD(handshake_ns), TNI_NS_PER_MS, 1000 * HOUR_NS, BOTH, TNI_ON_OPENED,
	 "duration", "tls, dtls, ws, proxy, with proxy=accept",
	 TNI_MEANING("how long the handshake may take, a proxy's request, or the PROXY header (default 10s)")},
#endif
#ifdef TNI_HAVE_TLS
	{"keylog", &tni_key_text, TLS(keylog), 0, 0, BOTH, TNI_ON_TLS, "file", "tls, dtls",
	 TNI_MEANING("appends the session's secrets for wireshark and the like (clients' default: "
		     "SSLKEYLOGFILE)")},
	{"path", &tni_key_text, WEB(path), 0, 0, BOTH, TNI_ON_WEB, "/path", "ws",
	 TNI_MEANING("what is asked for, or served (default: the URL's path); a query begins with ?, "
		     "written %3F")},
	{"subprotocol", &tni_key_text, WEB(subprotocol), 0, 0, BOTH, TNI_ON_WEB, "name, or several: a,b", "ws",
	 TNI_MEANING("application protocols; a server takes its own first that the client offers too")},
	{"origin", &tni_key_text, WEB(origin), 0, 0, BOTH, TNI_ON_HTTP, "https://host, or several: a,b; served: *",
	 "ws, http",
	 TNI_MEANING("served: pages that may connect besides those of the same host; dialled: what we say "
		     "we are")},
	{"hosts", &tni_key_text, WEB(hosts), 0, 0, TNI_ROLE_SERVE, TNI_ON_HTTP, "name, or several: a,b; *",
	 "ws, http, served",
	 TNI_MEANING("names that clients may ask for (default: the URL's, this computer's, localhost and "
		     "addresses)")},
	{"header", &tni_key_text, WEB(header), 0, 0, TNI_ROLE_DIAL, TNI_ON_WEB, "Name: value", "ws, dialled",
	 TNI_MEANING("one more field of the request")},
	{"ping", &tni_key_duration, WEB(ping_ns), 0, HOUR_NS, BOTH, TNI_ON_WEB, "duration, 0 = never", "ws",
	 TNI_MEANING("asks a peer of which nothing has come for so long whether it is there (default 0)")},
	{"dead", &tni_key_duration, WEB(dead_ns), 0, HOUR_NS, BOTH, TNI_ON_WEB, "duration", "ws",
	 TNI_MEANING("closes a connection on which nothing has come for so long, not even an answer to a "
		     "ping (default: twice ping); time in which it is not read (paused, or its queue is "
		     "full) does not count")},
	{"kind", &tni_key_kind, WEB(kind), 0, 0, BOTH, TNI_ON_WEB, "text|binary", "ws",
	 TNI_MEANING("what messages are sent as (default: text where the format is text, otherwise binary)")},
	{"deflate", &tni_key_switch, WEB(deflate), 0, 0, BOTH, TNI_ON_WEB, "on|off", "ws",
	 TNI_MEANING("whether messages may be compressed (default: served on, where the client offers it; "
		     "dialled off)")},
	{"deflate-min", &tni_key_size, WEB(deflate_min), 0, 1 << 30, BOTH, TNI_ON_WEB, "size", "ws",
	 TNI_MEANING("shorter messages are not compressed (default 256B)")},
#endif
	{"proto", &tni_key_protocol, FIELD(protocol), 0, 0, BOTH, TNI_ON_PROTOCOL,
	 "raw: name or integer 1..255; packet: name or integer 1..0xffff", "raw, packet",
	 TNI_MEANING("the protocol: of IP (icmp, gre, ospf, ...), which raw must have, or an EtherType "
		     "(arp, ipv6, ...; default all)")},
	{"type", &tni_key_packet, FIELD(frames), 0, 0, BOTH, TNI_ON_PACKET, "dgram|raw", "packet",
	 TNI_MEANING("whether packets come and go with the header of their link (raw) or without (default "
		     "dgram)")},
	{"to", &tni_key_text, FIELD(to), 0, 0, TNI_ROLE_DIAL, TNI_ON_PACKET, "aa:bb:cc:dd:ee:ff", "packet, dialled",
	 TNI_MEANING("the neighbour that is sent to and heard (default ff:ff:ff:ff:ff:ff: everybody)")},
#ifdef TNI_HAVE_SOCKOPTS
	{"netns", &tni_key_netns, FIELD(netns), 0, 0, BOTH, TNI_ON_NETS, "name, file, or number of a process",
	 "all but files, and Unix sockets with a path",
	 TNI_MEANING("the network name space in which its sockets are made: /run/netns/NAME, a file, or that of a "
		     "process (default: this process')")},
	{"fin", &tni_key_switch, FIELD(fin), 0, 0, BOTH, TNI_ON_CONNS, "on|off", "streams, dtls",
	 TNI_MEANING("off: the peer is told that our direction has ended only when its own has, or the connection "
		     "closes (default on)")},
	{"connected", &tni_key_switch, FIELD(connected), 0, 0, TNI_ROLE_DIAL, TNI_ON_DATAGRAMS, "on|off",
	 "udp, raw, icmp, dialled",
	 TNI_MEANING("off: whoever answers is heard, each by its address, and errors of the network are not "
		     "(default on; off for a group or a broadcast)")},
	{"setsockopt", &tni_key_setsockopt, FIELD(options), 0, 0, BOTH, TNI_ON_ALL, "LEVEL:NAME:VALUE, or several: a,b",
	 "all",
	 TNI_MEANING("an option of the socket that has no key: numbers of the kernel's headers, the value a number "
		     "(an int) or x and its bytes in hexadecimal")},
#endif
	{"spin", &tni_key_spin, FIELD(spin_ns), 0, TNI_NS_PER_S, BOTH, TNI_ON_ALL, "auto or duration, 0 = off", "all",
	 TNI_MEANING("longest busy wait of the loop before it sleeps, used while traffic is lively "
		     "(default auto)")},
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

const struct tni_key *tni_key_at(size_t index)
{
	return index < NKEYS ? &keys[index] : NULL;
}

const struct tni_key *tni_key_find(const char *key)
{
	for (size_t i = 0; i < NKEYS; i++)
		if (!strcmp(keys[i].key, key))
			return &keys[i];
	return NULL;
}

static void *field_of(const struct tni_endpoint *ep, const struct tni_key *key)
{
	static const struct tni_access_spec none;
	const void *access = ep->access ? ep->access : &none;
	char *whose = key->in == TNI_IN_TLS      ? (char *)ep->tls
		      : key->in == TNI_IN_WEB    ? (char *)ep->web
		      : key->in == TNI_IN_ACCESS ? (char *)(uintptr_t)access
#ifdef TNI_HAVE_FILES
		      : key->in == TNI_IN_DEVICE ? (char *)ep->device
#endif
						 : (char *)(uintptr_t)ep;

	return whose + key->at;
}

/* An inherited socket that is served is looked at when it is opened. */
static bool may_be_proxied(const struct tni_endpoint *ep)
{
	const struct tni_scheme *scheme = ep->scheme;

	if (scheme->place == TNI_AT_FD)
		return ep->role == TN_SERVE;
	return scheme->type == SOCK_STREAM || (scheme->kinds == TNI_SK_UDP && !scheme->secure);
}

/* Why a key has no meaning for an endpoint. NULL: it has one. */
static const char *why_not(const struct tni_endpoint *ep, const struct tni_key *key)
{
	const struct tni_scheme *scheme = ep->scheme;
	enum tni_place place = scheme->place;

	if (!(key->roles & tni_endpoint_role_bit(ep)))
		return key->roles == TNI_ROLE_SERVE ? "applies to served endpoints only"
						    : "applies to dialled endpoints only";
	if (tni_scheme_via(scheme) && key->where != TNI_ON_TLS && key->where != TNI_ON_AUTH)
		return "belongs to the URL that is dialled, not to a proxy's";
	switch (key->where) {
	case TNI_ON_ALL:
		return NULL;
	case TNI_ON_CONNS:
		return tni_scheme_is_dgram(scheme) ? "applies to streams only, not to datagrams" : NULL;
	case TNI_ON_STREAMS:
		return scheme->type == SOCK_DGRAM ? "applies to streams only, not to datagrams" : NULL;
	case TNI_ON_IP:
		return place == TNI_AT_HOST || place == TNI_AT_ADDR ? NULL : "applies to IP endpoints only";
	case TNI_ON_PATH:
		return place == TNI_AT_PATH && ep->host[0] != '@' ? NULL : "applies to Unix sockets with a path only";
	case TNI_ON_TLS:
		return scheme->secure ? NULL : "applies to tls and dtls endpoints only";
	case TNI_ON_WEB:
		return scheme->web == TNI_WEB_SOCKET ? NULL : "applies to ws and wss endpoints only";
	case TNI_ON_HTTP:
		return scheme->web ? NULL : "applies to ws, wss, http and https endpoints only";
	case TNI_ON_OPENED:
		return scheme->secure || scheme->web || scheme->gate ||
				       (ep->proxy == TNI_PROXIED_ACCEPT && !tni_scheme_is_dgram(scheme))
			       ? NULL
			       : "applies to tls, dtls, ws and proxy endpoints, and with proxy=accept, only";
	case TNI_ON_VIA:
		return place == TNI_AT_HOST && scheme->type == SOCK_STREAM && !scheme->gate
			       ? NULL
			       : "applies to tcp, tls and ws endpoints only";
	case TNI_ON_AUTH:
		return scheme->web || tni_scheme_via(scheme) ? NULL
							     : "applies to ws and wss endpoints, and to proxies, only";
	case TNI_ON_PROXIED:
		return may_be_proxied(ep) ? NULL : "applies to streams and udp only";
	case TNI_ON_ADDRS:
		return place == TNI_AT_LINK ? "applies to IP and Unix endpoints only" : NULL;
	case TNI_ON_REACH:
		if (ep->role == TN_SERVE)
			return scheme->gate ? NULL : "applies to dialled endpoints, and served proxies, only";
		return place == TNI_AT_HOST ? NULL : "applies to IP endpoints with ports only";
	case TNI_ON_GATE:
		return scheme->gate ? NULL : "applies to served proxies (proxy://) only";
	case TNI_ON_PROTOCOL:
		return place == TNI_AT_LINK || tni_scheme_raw(scheme) == TNI_RAW_IP
			       ? NULL
			       : "applies to raw and packet endpoints only";
#ifdef TNI_HAVE_RECONNECT
	case TNI_ON_AGAIN:
		return scheme->type == SOCK_DGRAM || place == TNI_AT_FD
			       ? "applies to streams that are dialled only, not to datagrams and descriptors"
			       : NULL;
#endif
#ifdef TNI_HAVE_SHM
	case TNI_ON_MEMORY:
		return scheme->memory ? NULL : "applies to shm endpoints only";
#endif
#ifdef TNI_HAVE_SOCKOPTS
	case TNI_ON_NETS:
		if (place == TNI_AT_FD || tni_scheme_is_device(scheme))
			return "applies to sockets that are made here, not to inherited ones or files";
		return place == TNI_AT_PATH && ep->host[0] != '@'
			       ? "has no effect on a Unix socket with a path, which is a file"
			       : NULL;
	case TNI_ON_DATAGRAMS:
		return (place == TNI_AT_HOST || place == TNI_AT_ADDR) && tni_scheme_is_dgram(scheme)
			       ? NULL
			       : "applies to datagrams of IP only";
#endif
#ifdef TNI_HAVE_SEGMENTS
	case TNI_ON_UDP:
		return scheme->kinds == TNI_SK_UDP ? NULL : "applies to udp and dtls endpoints only";
#endif
#ifdef TNI_HAVE_FILES
	case TNI_ON_FILE:
		return place == TNI_AT_FILE ? NULL : "applies to files (file:/path) only";
	case TNI_ON_TTY:
		return place == TNI_AT_TTY || place == TNI_AT_PTY ? NULL : "applies to tty and pty endpoints only";
#endif
	case TNI_ON_PACKET:
		return place == TNI_AT_LINK ? NULL : "applies to packet endpoints only";
	}
	return NULL;
}

int tni_key_parse(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key)
{
	const char *why = why_not(p->ep, key);

	if (!why && key->in == TNI_IN_ACCESS && !p->ep->access) {
		p->ep->access = calloc(1, sizeof(*p->ep->access));
		if (!p->ep->access)
			return tni_parse_no_memory();
	}
	return why ? tni_parse_fail_key(p, param, why) : key->type->parse(p, param, key, field_of(p->ep, key));
}

int tni_key_read(const struct tni_endpoint *ep, const struct tni_key *key, char *value, size_t cap)
{
	if (why_not(ep, key) || key->type->write(ep, field_of(ep, key), value, cap) < 0)
		return -EOPNOTSUPP;
	return 0;
}

/* What is set on the listener's socket before it belongs to any connection, or concerns its file. */
static bool is_below(const struct tni_key *key)
{
	static const char *const of_listener[] = {"backlog", "accept-rate", "mode",  "user",
						  "group",   "proxy",       "trust", "netns"};

	for (size_t i = 0; i < sizeof(of_listener) / sizeof(of_listener[0]); i++)
		if (!strcmp(key->key, of_listener[i]))
			return true;
	return key->in == TNI_IN_TLS;
}

static bool differ(const struct tni_endpoint *a, const struct tni_endpoint *b, const struct tni_key *key)
{
	char values[2][512];
	int has_a = tni_key_read(a, key, values[0], sizeof(values[0]));
	int has_b = tni_key_read(b, key, values[1], sizeof(values[1]));

	return has_a != has_b || (has_a == 0 && strcmp(values[0], values[1]) != 0);
}

static bool has_option(const struct tni_endpoint *ep, const struct tni_option_value *wanted)
{
	const struct tni_optval *a = &wanted->value;

	for (size_t i = 0; i < ep->noptions; i++) {
		const struct tni_optval *b = &ep->options[i].value;

		if (ep->options[i].opt == wanted->opt && !memcmp(a, b, sizeof(*a)))
			return true;
	}
	return false;
}

static const char *option_beyond(const struct tni_endpoint *a, const struct tni_endpoint *b)
{
	for (size_t i = 0; i < a->noptions; i++)
		if (!has_option(b, &a->options[i]))
			return a->options[i].opt->key;
	return NULL;
}

const char *tni_key_differs_below(const struct tni_endpoint *a, const struct tni_endpoint *b)
{
	const struct tni_key *key;
	const char *option;

	for (size_t i = 0; (key = tni_key_at(i)); i++)
		if (is_below(key) && differ(a, b, key))
			return key->key;
	option = option_beyond(a, b);
	return option ? option : option_beyond(b, a);
}

const char *tni_key_values(const struct tni_key *key)
{
	return key->type->values ? key->type->values() : key->type_text;
}

int tn_option_at(int index, struct tn_option *option)
{
	static _Thread_local char applies[128];
	const struct tni_key *key = index < 0 ? NULL : tni_key_at((size_t)index);
	const struct tni_sockopt *opt;

	if (key) {
		*option = (struct tn_option){
			.key = key->key, .type = tni_key_values(key), .applies = key->applies, .meaning = key->meaning};
		return 0;
	}
	opt = index < 0 ? NULL : tni_sockopt_at((size_t)index - NKEYS);
	if (!opt)
		return -ENOENT;
	*option = (struct tn_option){.key = opt->key,
				     .constant = opt->constant,
				     .level = opt->level,
				     .type = tni_sockopt_type_text(opt),
				     .applies = tni_sockopt_applies_text(opt, applies, sizeof(applies)),
				     .meaning = opt->meaning};
	return 0;
}
