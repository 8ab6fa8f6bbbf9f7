/*
 * One table for all commands. An option that means the same here as elsewhere is in the option table of its command.
 * The others are here, each with what does the same.
 */
#include "hints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"
#include "settings.h"
#include "tenon.h"
#include "text.h"

/*
 * In `instead`, these stand for parts of the command line: %p the place HOST:PORT, %s the place to serve, %h the host,
 * %v the value of the option, %c the command. %n alone is the whole line, read as nc reads it. Blanks separate the
 * words of a list. Commands "*": all; "": none was given.
 */
struct foreign {
	const char *commands, *typed;
	const char *why;
	const char *instead; /* a command line, without `tenon`; NULL: the help */
};

#define DIALLING "connect send ping bench"

static const struct foreign options[] = {
	/* serve: nc -l, ncat -l, openssl s_server */
	{"serve", "-l --listen", "serve listens anyway", "%n"},
	{"serve", "-p --port -P --source-port", "the port is a part of the URL", "%n"},
	{"serve", "-accept", "where to listen is the URL", "serve 'tls://*:%v?cert=server.pem&key=server.key'"},
	{"serve", "-s --source --bind --host -B", "the address to listen on is a part of the URL",
	 "serve tcp://%v:PORT"},
	{"serve", "-u --udp", "the protocol is a part of the URL", "%n"},
	{"serve", "-U --unixsock", "the protocol is a part of the URL", "%n"},
	{"serve", "-4 -6 --ipv4 --ipv6", "the IP version is a part of the URL", "%n"},
	{"serve", "--ssl --tls -S", "the protocol is a part of the URL",
	 "serve 'tls://%s?cert=server.pem&key=server.key'"},
	{"serve", "--ssl-cert --cert -cert", "the certificate is a key of the URL", "serve 'tls://%s?cert=%v'"},
	{"serve", "--ssl-key --key -key", "the private key is a key of the URL", "serve 'tls://%s?cert=FILE&key=%v'"},
	{"serve", "-e -c --exec --sh-exec", "a command for each connection is a handler",
	 "serve tcp://%s --handler 'exec:%v'"},
	{"serve", "-w --wait --timeout", "--idle closes connections on which nothing comes or goes",
	 "serve tcp://%s --idle %v"},
	{"serve", "--broker --chat", "no handler does that; examples/chat.c is such a server", NULL},
	{"serve", "-d -D -b --daemon --daemonize --background",
	 "serve stays in the foreground, as service managers want it", "serve tcp://%s &"},
	{"serve", "-o --output", "events go to standard output", "serve tcp://%s --json > FILE"},
	/* the side that dials: nc, ncat, socat, openssl s_client, curl */
	{"send", "-l --listen", "a server is another command", "%n"},
	{"connect send", "-z", "whether a port is open, ping says", "%n"},
	{DIALLING, "-u --udp", "the protocol is a part of the URL", "%n"},
	{DIALLING, "-U --unixsock --unix-socket --abstract-unix-socket", "the protocol is a part of the URL", "%n"},
	{"ping", "-4 --ipv4", "the IP version is a part of the URL", "ping icmp4://%h"},
	{"ping", "-6 --ipv6", "the IP version is a part of the URL", "ping icmp6://%h"},
	{DIALLING, "-4 -6 --ipv4 --ipv6", "the IP version is a part of the URL", "%n"},
	{DIALLING, "--ssl --tls", "the protocol is a part of the URL", "%c tls://%p"},
	{DIALLING, "-connect", "where to is the URL", "%c tls://%v"},
	{DIALLING, "-dtls", "the protocol is a part of the URL", "%c dtls://%p"},
	{DIALLING, "-servername --servername", "the name is a key of the URL", "%c 'tls://%p?sni=%v'"},
	{DIALLING, "-CAfile --cacert --ssl-trustfile --ca", "the authorities are a key of the URL",
	 "%c 'tls://%p?ca=%v'"},
	{DIALLING, "-k --insecure", "the key verify=off accepts any certificate", "%c 'tls://%p?verify=off'"},
	{DIALLING, "--ssl-verify", "certificates are always checked", "%c tls://%p"},
	{DIALLING, "--cert -cert -E --ssl-cert", "the certificate is a key of the URL", "%c 'tls://%p?cert=%v'"},
	{DIALLING, "--key -key --ssl-key", "the private key is a key of the URL", "%c 'tls://%p?cert=FILE&key=%v'"},
	{DIALLING, "-alpn --alpn --ssl-alpn", "the protocols are a key of the URL", "%c 'tls://%p?alpn=%v'"},
	{DIALLING, "-p --port", "the port is a part of the URL", "%c tcp://%h:%v"},
	{DIALLING, "--connect-timeout -G", "the time to dial is a key of the URL", "%c 'tcp://%p?connect=%v'"},
	{"connect", "-w -i --idle-timeout --timeout -m --max-time",
	 "--wait counts from the end of the input; key connect limits dialling, key idle silence",
	 "connect 'tcp://%p?idle=%v'"},
	{"connect", "-e -c --exec --sh-exec", "connect joins a socket to standard input and output, not to a command",
	 NULL},
	{"connect send", "-d --data --data-binary", "the message is an argument behind the URL", "send tcp://%p %v"},
	{"send", "--timeout -m --max-time", "how long to wait for the reply is --wait", "send --wait %v tcp://%p"},
	{"send", "-C --crlf", "the key frame=crlf ends each message with CR LF", "send 'tcp://%p?frame=crlf'"},
	{"connect send", "--hex-dump", "--trace shows what passes, as text, hex or json", "%c tcp://%p --trace hex"},
	{"connect send", "-o --output -O", "what comes goes to standard output", "%c tcp://%p > FILE"},
	{"ping connect send bench", "-I --interface", "the interface is a key of the URL",
	 "%c 'tcp://%p?bindtodevice=%v'"},
	{"connect send", "-T -Q --tos", "the type of service is a key of the URL", "%c 'tcp://%p?tos=%v'"},
	{DIALLING, "-x -X --proxy --proxy-type --socks5", "proxies are not spoken", NULL},
	{"connect send", "-H --header -L -X --request", "HTTP is not spoken; its bytes are messages like any other",
	 "connect tcp://%p < REQUEST"},
	/* ping */
	{"ping", "-t -m --ttl", "the time to live is a key of the URL", "ping 'icmp://%h?ttl=%v'"},
	{"ping", "-Q --tos", "the type of service is a key of the URL", "ping 'icmp://%h?tos=%v'"},
	{"ping", "-b", "the key broadcast=on allows that", "ping 'icmp://%h?broadcast=on'"},
	{"ping", "-M", "the key mtu_discover says whether packets may be cut up", "ping 'icmp://%h?mtu_discover=do'"},
	{"ping", "-D -O", "every event with its time, lost ones too, is in the output of --json", "ping --json %h"},
	{"ping", "-A -l", "--flood sends the next probe as soon as one is answered", "ping --flood %h"},
	/* bench: iperf3, wrk, ab, hey */
	{"bench", "-s --server", "what bench measures is a server of its own", "serve tcp://*:5201 --handler count"},
	{"bench", "--client", "where to is the URL", "bench --mode send tcp://%v:PORT"},
	{"bench", "-b --bitrate --bandwidth", "--rate is in messages a second", "bench --rate N tcp://%p"},
	{"bench", "-P --parallel --connections --concurrency", "how many connections is --conns",
	 "bench --conns %v tcp://%p"},
	{"bench", "-l --length --len", "how long messages are is --size", "bench --size %v tcp://%p"},
	{"bench", "-z --time", "how long is --duration", "bench --duration %v tcp://%p"},
	{"bench", "-w --window", "the buffers of the sockets are keys of the URL",
	 "bench 'tcp://%p?sndbuf=%v&rcvbuf=%v'"},
	{"bench", "--reverse", "--mode recv counts what the peer sends", "bench --mode recv tcp://%p"},
	{"bench", "-N --no-delay", "TCP_NODELAY is set anyway; the key nodelay=off takes it away", "bench tcp://%p"},
	{"bench", "-H --header -m --method", "HTTP is not spoken; a request can be a --payload @FILE", NULL},
	/* capture: tcpdump, tshark */
	{"capture", "--interface", "the interface is --iface", "capture --iface %v"},
	{"capture", "--list-interfaces", "the list of interfaces is --list", "capture --list"},
	{"capture", "-X -A -XX -xx", "-x prints bytes, as hexadecimal digits and as text", "capture -x"},
	{"capture", "-B --buffer-size", "--buffer takes a size with its unit", "capture --buffer %vKiB"},
	{"capture", "-e", "packets with their link's header are what --write keeps", "capture --write FILE.pcapng"},
	{"capture", "-C", "files have a size with its unit", "capture --write FILE.pcapng --rotate %vM"},
	{"capture", "-G", "files have a duration", "capture --write FILE.pcapng --rotate %vs"},
	{"capture", "-W", "files that stay are --keep", "capture --write FILE.pcapng --rotate 100MiB --keep %v"},
	{"capture", "-z", "files are compressed while they are written", "capture --write FILE.pcapng.gz"},
	{"capture", "-t", "how times look is --time", "capture --time none"},
	{"capture", "-tt", "how times look is --time", "capture --time epoch"},
	{"capture", "-ttt", "how times look is --time", "capture --time delta"},
	{"capture", "-tttt", "how times look is --time", "capture --time date"},
	{"capture", "-ttttt", "how times look is --time", "capture --time relative"},
	{"capture", "--nano --time-stamp-precision", "digits are --nanoseconds", "capture --nanoseconds"},
	{"capture", "-F", "the filter is an argument", "capture \"$(cat %v)\""},
	{"capture", "-Y", "the filter is an argument, in the language of pcap-filter(7)", "capture %v"},
	{"capture", "-S -E -y -Z -K -N -j -J -T", "it is no option of capture", NULL},
	/* inspect: ss, netstat, lsof */
	{"inspect", "-t -x -w -l -o -m -i -e -E -4 -6 --tcp --udp --unix --listening --extended --processes --options",
	 "inspect shows every kind of socket, with all there is to know", "inspect --endpoint tcp://localhost:PORT"},
	{"inspect", "-u -d", "inspect shows every kind of socket", "inspect --endpoint udp://localhost:PORT"},
	/* convert: jq, iconv */
	{"convert", "-o --output", "the result goes to standard output", "convert --from FORMAT --to FORMAT FILE > %v"},
	{"convert", "-i --input", "the input is an argument, or standard input",
	 "convert --from FORMAT --to FORMAT %v"},
	{"convert", "-c -r --compact-output --raw-output",
	 "a message a line is how JSON is written unless --pretty is given", "convert --from json --to json"},
	/* cert: openssl req */
	{"cert", "-subj -addext --san", "the names are --host", "cert new --out DIR --host NAME"},
	{"cert", "-newkey -x509 -nodes -new", "a key and a certificate are made at once", "cert new --out DIR"},
	{"cert", "-in -text -noout", "a file, or a server, is an argument", "cert show FILE"},
	/* without a command: nc */
	{"", "-l --listen -u --udp -U --unixsock -z -4 -6 --ipv4 --ipv6 -n -w -p -k -c -i -e -s -t -d -r -C -N",
	 "options stand behind a command", "%n"},
	{"", "--ssl --tls", "options stand behind a command", "connect tls://%p"},
	{"", "-connect", "options stand behind a command", "connect tls://%v"},
	/* everywhere */
	{"*", "-4 --ipv4", "the IP version is a part of the URL: tcp4://, udp4://, tls4://, icmp4://", NULL},
	{"*", "-6 --ipv6", "the IP version is a part of the URL: tcp6://, udp6://, tls6://, icmp6://", NULL},
	{"*", "-u --udp", "the protocol is a part of the URL: udp://HOST:PORT", NULL},
	{"*", "-U --unixsock", "the protocol is a part of the URL: unix:/PATH", NULL},
	{"*", "--ssl --tls", "the protocol is a part of the URL: tls://HOST:PORT", NULL},
	{"*", "-p --port", "the port is a part of the URL: tcp://HOST:PORT", NULL},
	{"*", "-n --numeric --nodns", "addresses and ports are always printed as numbers", NULL},
};

static const struct {
	const char *command, *names;
} other_names[] = {
	{"serve", "listen server accept bind tcp-listen udp-listen s_server echo httpd daemon"},
	{"connect", "nc ncat netcat socat telnet client open dial s_client cat tcp udp tls unix attach"},
	{"send", "post put get request call curl write message query push"},
	{"convert", "jq yq encode decode transcode format json xml cbor msgpack"},
	{"capture", "tcpdump tshark wireshark dump sniff record trace"},
	{"inspect", "ss netstat lsof show status list ps sockets"},
	{"bench", "iperf iperf3 perf load benchmark wrk ab hey test measure"},
	{"ping", "probe check scan latency icmp alive wait"},
	{"cert", "certs certificate certificates ca mkcert openssl key keygen genkey x509 req"},
	{"relay --chaos-api http://localhost:8474", "toxiproxy toxiproxy-server"},
	{"options", "keys opts sockopts sockopt setsockopt getsockopt schemes"},
};

/* Whether `word` is one of a list that blanks separate. */
static bool in_list(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = strstr(list, word); at && len > 0; at = strstr(at + 1, word))
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

/* The place that the arguments name, as part of a URL. */
struct place {
	char host[256], port[32];
	const char *first, *value;
};

/* The options of nc, which are letters. */
struct nc {
	bool listens, keeps, scans, udp, unix_path;
	char version; /* of IP: '4', '6', or 0 */
};

/* HOST and PORT, HOST:PORT, PORT, or a URL, of which only HOST:PORT is used under another scheme. */
static void place_read(struct place *place, const char *first, const char *second)
{
	const char *scheme = first ? strstr(first, "://") : NULL;
	const char *text = scheme ? scheme + 3 : first, *colon;
	size_t len;
	bool bare;

	place->first = first;
	if (!text)
		return;
	len = strcspn(text, "/?");
	if (len > 200)
		len = 200;
	colon = memrchr(text, ':', len);
	bare = colon && text[0] != '[' && memchr(text, ':', (size_t)(colon - text)); /* IPv6 without brackets */
	if (is_number(text)) {
		snprintf(place->port, sizeof(place->port), "%.20s", text);
	} else if (colon && !bare && text[len - 1] != ']') {
		snprintf(place->host, sizeof(place->host), "%.*s", (int)(colon - text), text);
		snprintf(place->port, sizeof(place->port), "%.*s", (int)(text + len - colon - 1) % 30, colon + 1);
	} else {
		snprintf(place->host, sizeof(place->host), bare ? "[%.*s]" : "%.*s", (int)len, text);
		snprintf(place->port, sizeof(place->port), "%.20s",
			 second         ? second
			 : *place->port ? place->port
					: "PORT");
	}
}

static const char *or_else(const char *text, const char *other)
{
	return text && *text ? text : other;
}

static void put_nc(struct text *text, const char *command, const struct place *place, const struct nc *nc)
{
	char version[2] = {nc->version};

	if (strcmp(command, "serve") == 0 || (!nc->listens && !nc->scans && *command))
		text_add(text, "%s ", command);
	else if (nc->listens)
		text_add(text, "connect --listen %s", nc->keeps ? "--keep " : "");
	else
		text_add(text, !nc->scans ? "connect " : strpbrk(place->port, "-,") ? "ping " : "ping --count 1 ");
	if (nc->unix_path)
		text_add(text, "%s:%s", nc->udp ? "unix-dgram" : "unix", or_else(place->first, "/PATH"));
	else
		text_add(text, "%s%s://%s:%s", nc->udp ? "udp" : "tcp", version,
			 or_else(place->host, nc->listens    ? "*"
					      : *place->port ? "localhost"
							     : "HOST"),
			 or_else(place->port, "PORT"));
}

static void put_part(struct text *text, char part, const char *command, const struct place *place)
{
	bool port_only = !*place->host && *place->port;

	switch (part) {
	case 'p':
		text_add(text, "%s:%s", or_else(place->host, port_only ? "localhost" : "HOST"),
			 or_else(place->port, "PORT"));
		break;
	case 's':
		text_add(text, "%s:%s", or_else(place->host, "*"), or_else(place->port, "PORT"));
		break;
	case 'h':
		text_add(text, "%s", or_else(place->host, port_only ? "localhost" : "HOST"));
		break;
	case 'v':
		text_add(text, "%s", or_else(place->value, "VALUE"));
		break;
	default:
		text_add(text, "%s", command);
	}
}

/* Prints the command line to try. The table has quoted what a shell would read. */
static void try_instead(const char *instead, const char *command, const struct place *place, const struct nc *nc)
{
	struct text text = {0};

	for (const char *at = instead; *at; at++)
		if (*at != '%')
			text_bytes(&text, at, 1);
		else if (*++at == 'n')
			put_nc(&text, command, place, nc);
		else
			put_part(&text, *at, command, place);
	text_bytes(&text, "", 1);
	complain_hint("%s %s", settings.program, text.failed ? "--help" : text.data);
	text_free(&text);
}

/* A place may stand before the option or behind it; with an option that has a value, behind that value. */
static void place_find(struct place *place, bool valued, char **operands, int count, char **rest)
{
	const char *found[2] = {0};
	int n = 0;

	if (valued && *rest)
		place->value = *rest++;
	for (int i = 0; i < count && n < 2; i++)
		found[n++] = operands[i];
	for (; *rest && n < 2; rest++)
		if (**rest != '-')
			found[n++] = *rest;
	place_read(place, found[0], found[1]);
}

/* Takes what one argument of nc's says. Returns whether its value is the next argument. */
static bool nc_letters(struct nc *nc, const char *option)
{
	static const struct {
		const char *name;
		char letter;
	} names[] = {{"--listen", 'l'}, {"--udp", 'u'},  {"--unixsock", 'U'}, {"--unix-socket", 'U'},
		     {"--port", 'p'},   {"--ipv4", '4'}, {"--ipv6", '6'},     {"--source-port", 'p'}};
	char letter[2] = "";
	const char *letters = option + 1;

	for (size_t i = 0; option[1] == '-' && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(option, names[i].name) == 0)
			letter[0] = names[i].letter;
	if (option[1] == '-')
		letters = letter;
	nc->listens |= strchr(letters, 'l') != NULL;
	nc->keeps |= strchr(letters, 'k') != NULL;
	nc->scans |= strchr(letters, 'z') != NULL;
	nc->udp |= strchr(letters, 'u') != NULL;
	nc->unix_path |= strchr(letters, 'U') != NULL;
	if (strpbrk(letters, "46"))
		nc->version = *strpbrk(letters, "46");
	return *letters && strchr("wpisqcemTXxIOGMPVW", letters[strlen(letters) - 1]);
}

/* All of a command line of nc's, from the argument in front of `rest` on. */
static void nc_find(struct nc *nc, struct place *place, char **operands, int count, char **rest)
{
	const char *found[2] = {0}, *option = rest[-1];
	int n = 0;

	for (int i = 0; i < count && n < 2; i++)
		found[n++] = operands[i];
	for (; option; option = *rest ? *rest++ : NULL) {
		if (*option != '-' || !option[1]) {
			if (n < 2)
				found[n++] = option;
		} else if (nc_letters(nc, option) && *rest) {
			if (option[strlen(option) - 1] == 'p' || strcmp(option, "--port") == 0)
				snprintf(place->port, sizeof(place->port), "%.20s", *rest);
			rest++;
		}
	}
	place_read(place, found[0], found[1]);
}

static void hint(const struct foreign *option, const char *command, const char *typed, char **operands, int count,
		 char **rest)
{
	struct place place = {0};
	struct nc nc = {.listens = strcmp(command, "serve") == 0};

	complain("%s%sno option %s: %s", command, *command ? ": " : "", typed, option->why);
	if (!option->instead) {
		complain_hint("%s%s%s --help", settings.program, *command ? " " : "", command);
		return;
	}
	if (strcmp(option->instead, "%n") == 0)
		nc_find(&nc, &place, operands, count, rest);
	else
		place_find(&place, strstr(option->instead, "%v"), operands, count, rest);
	try_instead(option->instead, command, &place, &nc);
}

bool hint_option(const char *command, const char *typed, char **operands, int count, char **rest)
{
	const char *name = command ? command : "";

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const struct foreign *option = &options[i];

		if (strcmp(option->commands, "*") != 0 &&
		    !(*name ? in_list(option->commands, name) : !*option->commands))
			continue;
		if (!in_list(option->typed, typed))
			continue;
		hint(option, name, typed, operands, count, rest);
		return true;
	}
	return false;
}

/* The same arguments behind the command's name here; a port alone is a place. */
static void try_command(const char *command, char **args, int count)
{
	struct text text = {0};

	for (int i = 0; i < count; i++)
		text_add(&text, i == 0 && is_number(args[i]) && strcmp(command, "serve") == 0 ? " tcp://*:%s" : " %s",
			 args[i]);
	text_bytes(&text, "", 1);
	complain_hint("%s %s%s", settings.program, command, text.failed ? "" : text.data);
	text_free(&text);
}

bool hint_command(char **args, int count)
{
	for (size_t i = 0; i < sizeof(other_names) / sizeof(other_names[0]); i++) {
		if (!in_list(other_names[i].names, args[0]))
			continue;
		complain("no command '%s': here it is %s", args[0], other_names[i].command);
		try_command(other_names[i].command, args + 1, count - 1);
		return true;
	}
	return false;
}

bool hint_place(char **args, int count)
{
	struct place place = {0};
	struct nc none = {0};
	bool is_url = strchr(args[0], ':'), is_port = is_number(args[0]);

	if (!is_url && !is_port && !(count > 1 && is_number(args[1])))
		return false;
	complain("'%.200s' is no command: which one?", args[0]);
	if (is_url && (strstr(args[0], "://") || tn_url_check(args[0], TN_DIAL) == 0)) {
		complain_hint("%s connect '%s'", settings.program, args[0]);
	} else {
		place_read(&place, args[0], count > 1 ? args[1] : NULL);
		try_instead("connect tcp://%p", "", &place, &none);
	}
	return true;
}
