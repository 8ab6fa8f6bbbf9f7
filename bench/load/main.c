/*
 * load: closed-loop echo load and its measurement; see README.md beside this folder.
 *
 *     load [hold|handshakes] tcp HOST PORT | tls HOST PORT | unix PATH | udp HOST PORT [options]
 *     load hold ws HOST PORT [options]
 */
#include "load.h"

#include <arpa/inet.h>
#include <err.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char usage_text[] =
	"usage: load [hold|handshakes] tcp HOST PORT | tls HOST PORT | unix PATH | udp HOST PORT [options]\n"
	"       load hold ws HOST PORT [options]\n"
	"  --conns N        connections (64)\n"
	"  --size BYTES     of a message (64)\n"
	"  --depth D        messages in flight on each connection (1)\n"
	"  --duration S     seconds that count (2)\n"
	"  --warmup S       seconds before that do not (0.5)\n"
	"  --spin           never sleep\n"
	"  --resume         handshakes: with the ticket of the last one\n"
	"  --deflate        ws: with compression, which the server must agree to\n"
	"  --ack            replies are \"ack: \" and the data\n"
	"  --frame NAME     none, line or u32: each message in such a frame (none)\n"
	"  --engine NAME    auto, epoll or uring (auto: epoll for messages of 4 KiB and more)\n"
	"handshakes: opens TLS connections, --conns at a time, closes each once the handshake is done, and counts\n"
	"them.\n"
	"hold: opens the connections, uses each once, says `holding N` and keeps them until its input ends.\n";

_Noreturn static void fail_usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static double parse_number(const char *text, double min, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		errx(2, "%s: a number from %g to %g is needed", text, min, max);
	return value;
}

static enum engine parse_engine(const char *name)
{
	static const char *const names[] = {"auto", "epoll", "uring"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name, names[i]))
			return (enum engine)i;
	}
	fail_usage();
}

static enum framing parse_framing(const char *name)
{
	static const char *const names[] = {"none", "line", "u32"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name, names[i]))
			return (enum framing)i;
	}
	fail_usage();
}

/* From here on a message is what travels. */
static void add_frame(struct options *options)
{
	static const size_t beside[] = {[FRAMING_NONE] = 0, [FRAMING_LINE] = 1, [FRAMING_U32] = 4};

	options->payload = options->size;
	options->size += beside[options->framing];
	if (options->framing && (options->proto == PROTO_UDP || options->hold || options->size > PERIOD))
		errx(2, "frames: for load over streams, with messages of up to %d bytes", PERIOD - 4);
}

static void parse_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"conns", required_argument, NULL, 'c'},  {"size", required_argument, NULL, 's'},
		{"depth", required_argument, NULL, 'd'},  {"duration", required_argument, NULL, 't'},
		{"warmup", required_argument, NULL, 'w'}, {"spin", no_argument, NULL, 'p'},
		{"ack", no_argument, NULL, 'a'},          {"frame", required_argument, NULL, 'f'},
		{"resume", no_argument, NULL, 'r'},       {"deflate", no_argument, NULL, 'z'},
		{"engine", required_argument, NULL, 'e'}, {0},
	};
	int key;

	while ((key = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (key) {
		case 'c':
			options->conns = (unsigned)parse_number(optarg, 1, 100000);
			break;
		case 's':
			options->size = (size_t)parse_number(optarg, 1, 16 << 20);
			break;
		case 'd':
			options->depth = (unsigned)parse_number(optarg, 1, 4096);
			break;
		case 't':
			options->duration_s = parse_number(optarg, 0.01, 600);
			break;
		case 'w':
			options->warmup_s = parse_number(optarg, 0, 60);
			break;
		case 'p':
			options->spin = true;
			break;
		case 'r':
			options->resume = true;
			break;
		case 'z':
			options->deflate = true;
			break;
		case 'a':
			options->ack = true;
			break;
		case 'e':
			options->engine = parse_engine(optarg);
			break;
		case 'f':
			options->framing = parse_framing(optarg);
			break;
		default:
			fail_usage();
		}
	}
}

static void parse_target(struct options *options, int count, char **words)
{
	if (count && !strcmp(words[0], "hold")) {
		options->hold = true;
		count--, words++;
	} else if (count && !strcmp(words[0], "handshakes")) {
		options->handshakes = true;
		count--, words++;
	}
	if (count == 3 && !strcmp(words[0], "tcp"))
		options->proto = PROTO_TCP;
	else if (count == 3 && !strcmp(words[0], "tls"))
		options->proto = PROTO_TLS;
	else if (count == 3 && !strcmp(words[0], "udp"))
		options->proto = PROTO_UDP;
	else if (count == 3 && !strcmp(words[0], "ws") && options->hold)
		options->proto = PROTO_WS;
	else if (count == 2 && !strcmp(words[0], "unix"))
		options->proto = PROTO_UNIX;
	else
		fail_usage();
	options->host = words[1];
	options->port = words[2];
	add_frame(options);
	if (options->proto == PROTO_UDP && (options->size < HEADER_SIZE || options->size > 65000 || options->hold))
		errx(2, "udp: a message has %d to 65000 bytes, and there is nothing to hold", HEADER_SIZE);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path))
		errx(2, "%s: path too long", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err(1, "%s", path);
	return fd;
}

static int connect_inet(const struct options *options, int type)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(options->port))};
	int on = 1, room = 4 << 20, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (inet_pton(AF_INET, options->host, &addr.sin_addr) != 1)
		errx(2, "%s: not an IPv4 address", options->host);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err(1, "%s port %s", options->host, options->port);
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	else
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return fd;
}

int lane_connect(const struct options *options)
{
	if (options->proto == PROTO_UNIX)
		return connect_unix(options->host);
	return connect_inet(options, options->proto == PROTO_UDP ? SOCK_DGRAM : SOCK_STREAM);
}

static void open_lanes(struct load *load)
{
	load->pattern_fd = memfd_create("pattern", MFD_CLOEXEC);
	if (load->pattern_fd < 0 || write(load->pattern_fd, load_pattern, sizeof(load_pattern)) != sizeof(load_pattern))
		err(1, "memfd");
	load->lanes = calloc(load->options.conns, sizeof(*load->lanes));
	if (!load->lanes)
		err(1, "calloc");
	for (unsigned i = 0; i < load->options.conns; i++)
		lane_open(load, &load->lanes[i], i);
}

static void run_load(struct load *load)
{
	const struct options *options = &load->options;
	bool bulk = (options->size >= BULK_SIZE && !is_datagram(load)) || options->proto == PROTO_TLS;

	load->uring = options->engine == ENGINE_URING || (options->engine == ENGINE_AUTO && !bulk);
#ifdef LOAD_URING
	if (load->uring && run_uring(load))
		return;
#endif
	if (options->engine == ENGINE_URING)
		errx(1, "io_uring is not to be had here");
	load->uring = false;
	run_epoll(load);
}

static double seconds(struct timeval from, struct timeval to)
{
	return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_usec - from.tv_usec) / 1e6;
}

static double latency_us(const struct load *load, double share)
{
	return (double)hist_quantile(&load->hist, share) / 1e3;
}

static void print_report(const struct load *load)
{
	const struct options *options = &load->options;
	double elapsed_s = (double)(load->end_ns - load->begin_ns) / 1e9;
	double user_s = seconds(load->usage_begin.ru_utime, load->usage_end.ru_utime);
	double system_s = seconds(load->usage_begin.ru_stime, load->usage_end.ru_stime);
	double rate = elapsed_s > 0 ? (double)load->messages / elapsed_s : 0;

	printf("{\"conns\":%u,\"size\":%zu,\"depth\":%u,\"engine\":\"%s\",\"spin\":%s,\"seconds\":%.3f,",
	       options->conns, options->payload, options->depth, load->uring ? "uring" : "epoll",
	       options->spin ? "true" : "false", elapsed_s);
	printf("\"messages\":%llu,\"total\":%llu,\"rate\":%.1f,\"bytes_per_second\":%.0f,",
	       (unsigned long long)load->messages, (unsigned long long)load->total, rate,
	       rate * (double)options->payload);
	printf("\"errors\":%llu,\"lost\":%llu,\"late\":%llu,", (unsigned long long)load->errors,
	       (unsigned long long)load->lost, (unsigned long long)load->late);
	printf("\"p50_us\":%.2f,\"p90_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"max_us\":%.2f,",
	       latency_us(load, 0.5), latency_us(load, 0.9), latency_us(load, 0.99), latency_us(load, 0.999),
	       (double)load->hist.max / 1e3);
	printf("\"user_s\":%.3f,\"system_s\":%.3f,\"cpu\":%.3f}\n", user_s, system_s,
	       elapsed_s > 0 ? (user_s + system_s) / elapsed_s : 0);
}

static void limit_process(const struct options *options)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
	/* Whatever the server does, this process ends. */
	if (!options->hold)
		alarm((unsigned)(options->warmup_s + options->duration_s) + 60);
}

int main(int argc, char **argv)
{
	static struct load load = {
		.options = {.conns = 64, .size = 64, .depth = 1, .duration_s = 2, .warmup_s = 0.5},
	};

	parse_options(&load.options, argc, argv);
	parse_target(&load.options, argc - optind, argv + optind);
	limit_process(&load.options);
	pattern_fill(&load.options);
	if (load.options.hold)
		return hold_conns(&load.options);
	if (load.options.handshakes) {
		run_handshakes(&load);
	} else {
		open_lanes(&load);
		run_load(&load);
	}
	print_report(&load);
	return load.errors ? 1 : 0;
}
