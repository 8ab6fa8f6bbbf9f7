/* `tenon capture`: packets, or the messages in them, from an interface or a file, as lines or into a file. */
#include "capture.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/paint.h"
#include "common/privileges.h"
#include "common/screen.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "filter.h"
#include "follow.h"
#include "gzip.h"
#include "interfaces.h"
#include "json.h"
#include "line.h"
#include "live.h"
#include "outfile.h"
#include "owner.h"
#include "packet/capfile.h"
#include "packet/packet.h"
#include "relative.h"
#include "sink.h"
#include "tenon.h"
#include "tenon_value.h"

struct rotation {
	uint64_t bytes, ns; /* 0: not by this */
};

/* The buffer outlasts a quarter of a second of a disk that stalls, at 60 MB/s. */
static struct {
	const char *iface, *endpoint, *read, *write, *frame, *format, *keylog, *comment, *process;
	unsigned count, keep;
	uint64_t snaplen, memory, buffer;
	struct rotation rotate;
	bool follow, hex, print, promiscuous, absolute, list, compress, nanoseconds, timed;
	enum line_clock clock;
	enum live_direction direction;
} options = {.memory = 64U << 20, .buffer = 16U << 20};

/* What is known of an interface of the input. */
struct iface {
	char *name;       /* printable; NULL: it has none */
	uint32_t written; /* its number in the output */
	uint64_t dropped; /* as the input tells; CAPFILE_UNCOUNTED: it does not */
};

struct capture {
	struct live *live;     /* NULL: a file is read */
	struct filter *filter; /* of what comes from a file: live, the kernel filters */
	struct follow *follow;
	struct outfile *out;
	struct owners *owners; /* NULL: nobody asks for them */
	struct sink sink;
	struct relative *relative; /* of lines on a terminal */
	struct iface *ifaces;
	uint32_t nifaces;
	uint64_t seen, taken, last_ns;
	bool print;
	int in; /* descriptor; -1: none */
	bool in_regular;
};

/* ---- what is done with each record ---- */

static char *printable(const char *name)
{
	char *copy = strdup(name);

	for (char *p = copy; p && *p; p++)
		if (!isgraph((unsigned char)*p) || p - copy >= 64)
			*p = p - copy >= 64 ? 0 : '?';
	return copy;
}

static int take_interface(struct capture *c, const struct capfile_record *record)
{
	struct iface *grown = realloc(c->ifaces, (record->iface_id + 1U) * sizeof(*grown)), *iface;
	int id = 0;

	if (!grown)
		return complain_library(-ENOMEM, NULL), -ENOMEM;
	c->ifaces = grown;
	c->nifaces = record->iface_id + 1;
	iface = &grown[record->iface_id];
	if (c->out)
		id = outfile_interface(c->out, record->iface);
	*iface = (struct iface){.name = record->iface->name ? printable(record->iface->name) : NULL,
				.written = (uint32_t)id,
				.dropped = CAPFILE_UNCOUNTED};
	return id < 0 ? id : 0;
}

static int take_counts(struct capture *c, struct capfile_record *record)
{
	struct iface *iface = &c->ifaces[record->iface_id];
	uint64_t dropped = 0;

	if (record->dropped != CAPFILE_UNCOUNTED || record->os_dropped != CAPFILE_UNCOUNTED) {
		dropped += record->dropped != CAPFILE_UNCOUNTED ? record->dropped : 0;
		dropped += record->os_dropped != CAPFILE_UNCOUNTED ? record->os_dropped : 0;
		iface->dropped = dropped;
	}
	record->iface_id = iface->written;
	return c->out ? outfile_counts(c->out, record) : 0;
}

static const char *iface_name(const struct capture *c, const struct packet *packet, const struct capfile_record *record)
{
	const char *name = c->live && packet->ifindex ? live_iface_name(c->live, packet->ifindex) : NULL;

	return name ? name : c->ifaces[record->iface_id].name;
}

/* Live they are there too, but nobody has asked for so many digits. */
static bool has_nanoseconds(const struct capture *c, const struct capfile_record *record)
{
	return record->iface->nanoseconds && (c->in >= 0 || options.nanoseconds);
}

static void show(struct capture *c, const struct packet *packet, const struct capfile_record *record)
{
	struct line_extra extra = {.iface = iface_name(c, packet, record),
				   .nanoseconds = has_nanoseconds(c, record),
				   .verbose = settings.verbose > 0,
				   .hex = options.hex,
				   .comment = record->comment,
				   .comment_len = record->comment_len};

	if (settings.json)
		line_json(&c->sink, packet, record->ns, &extra);
	else
		line_packet(&c->sink, packet, record->ns, &extra);
}

#define OWNERS_TEXT 96

static char *put_owner(char *to, const char *end, const struct owner *owner)
{
	int len = owner->pid ? snprintf(to, (size_t)(end - to), "%s (%d)", owner->command, owner->pid)
			     : snprintf(to, (size_t)(end - to), "?");

	return to + len;
}

/* Whether it belongs to the process that is wanted; whose it is becomes its comment. */
static bool is_of_process(struct capture *c, const struct packet *packet, struct capfile_record *record,
			  char comment[OWNERS_TEXT])
{
	struct owner sender, receiver;
	char *p = comment, *end = comment + OWNERS_TEXT;

	if (!owners_of(c->owners, packet, &sender, &receiver))
		return strcmp(options.process, "any") == 0;
	if (!owner_is(&sender, options.process) && !owner_is(&receiver, options.process))
		return false;
	p = put_owner(stpcpy(p, "process "), end, &sender);
	p = put_owner(stpcpy(p, " > "), end, &receiver);
	record->comment = comment;
	record->comment_len = (uint32_t)(p - comment);
	return true;
}

static int take_packet(struct capture *c, struct capfile_record *record)
{
	char comment[OWNERS_TEXT];
	struct packet packet;
	int err = 0;

	c->seen++;
	if (c->filter && !filter_matches(c->filter, record->iface->link, record))
		return 0;
	if (options.snaplen && record->caplen > options.snaplen)
		record->caplen = (uint32_t)options.snaplen;
	if (c->print || c->follow || c->owners)
		packet_decode(&packet, record->iface->link, record->data, record->caplen, record->len);
	if (c->owners && !is_of_process(c, &packet, record, comment))
		return 0;
	c->taken++;
	c->last_ns = record->ns;
	if (c->print)
		show(c, &packet, record);
	if (c->follow)
		err = follow_packet(c->follow, &packet, record->ns, has_nanoseconds(c, record), record->comment,
				    record->comment_len);
	if (c->out && err == 0) {
		record->iface_id = c->ifaces[record->iface_id].written;
		err = outfile_packet(c->out, record);
	}
	if (err == 0)
		err = c->sink.err;
	if (err < 0)
		return err;
	return c->follow ? follow_is_full(c->follow) : options.count && c->taken == options.count;
}

/* Takes one record: filters, prints, writes, follows. 0; 1: no more are wanted; < 0: the output has failed. */
static int capture_take(void *arg, struct capfile_record *record)
{
	struct capture *c = arg;

	switch (record->kind) {
	case CAPFILE_INTERFACE:
		return take_interface(c, record);
	case CAPFILE_COUNTS:
		return take_counts(c, record);
	case CAPFILE_SECRETS:
		return c->out ? outfile_secrets(c->out, record->data, record->caplen) : 0;
	case CAPFILE_COMMENT:
		return c->out ? outfile_comment(c->out, record->comment, record->comment_len) : 0;
	default:
		return take_packet(c, record);
	}
}

/* Before packets that have waited: the keys to them are written first. */
static int capture_before(void *arg)
{
	const struct capture *c = arg;

	return c->out ? outfile_take_keys(c->out) : 0;
}

/* Writes what is kept for the output. */
static int capture_flush(void *arg)
{
	struct capture *c = arg;
	int err = sink_flush(&c->sink);

	return err == 0 && c->out ? outfile_flush(c->out) : err;
}

static bool writes_stdout(const struct capture *c)
{
	return c->print || c->follow || (c->out && outfile_is_stdout(c->out));
}

/* ---- from a file ---- */

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

/* Without SA_RESTART: a read from a pipe ends at once, with what there was. A second signal ends the process. */
static void watch_signals(void)
{
	struct sigaction act = {.sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
}

/*
 * Waits for more on a pipe. Returns whether there may be more: not after a signal, and not if nobody reads the output
 * any more.
 */
static bool wait_in(const struct capture *c)
{
	struct pollfd both[] = {{.fd = c->in, .events = POLLIN}, {.fd = writes_stdout(c) ? STDOUT_FILENO : -1}};

	while (!stopped && poll(both, 2, -1) < 0)
		if (errno != EINTR)
			break;
	return !stopped && !(both[1].revents && out_abandoned());
}

static long read_in(void *arg, void *buf, size_t len)
{
	struct capture *c = arg;
	ssize_t got;

	/* The writer of a pipe may be slow: what has come is shown before the next wait */
	if (!c->in_regular && (capture_flush(c) < 0 || !wait_in(c)))
		return 0;
	do
		got = stopped ? 0 : read(c->in, buf, len);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (long)got;
}

static const char *in_name(void)
{
	return strcmp(options.read, "-") == 0 ? "standard input" : options.read;
}

static int run_file(struct capture *c)
{
	struct capfile *file = NULL;
	struct gunzip *gunzip;
	struct capfile_record record;
	const char *why;
	uint64_t at;
	int err = gunzip_new(&gunzip, read_in, c), taken = 0;

	if (err == 0)
		err = capfile_new(&file, gunzip_read, gunzip);
	if (err < 0) {
		gunzip_free(gunzip);
		return complain_library(err, NULL);
	}
	watch_signals();
	while (taken == 0 && !stopped && out_lost() != -EPIPE && (err = capfile_next(file, &record)) > 0)
		taken = capture_take(c, &record);
	if (err < 0 && !stopped && out_lost() != -EPIPE) {
		why = capfile_why(file, &at);
		capture_flush(c); /* what stands before the damage is shown before the error */
		complain("%s: byte %llu: %s", in_name(), (unsigned long long)at, why);
	}
	capfile_free(file);
	gunzip_free(gunzip);
	if (taken < 0)
		return STATUS_FAILED;
	return stopped ? STATUS_DONE : status_of(err);
}

/* ---- at the end ---- */

static void tell_file(const struct capture *c)
{
	uint64_t dropped = 0;
	bool counted = false;

	for (uint32_t i = 0; i < c->nifaces; i++)
		if (c->ifaces[i].dropped != CAPFILE_UNCOUNTED) {
			counted = true;
			dropped += c->ifaces[i].dropped;
		}
	if (counted)
		complain("%s: %llu of %llu packets; %llu were dropped while it was captured", in_name(),
			 (unsigned long long)c->taken, (unsigned long long)c->seen, (unsigned long long)dropped);
	else
		complain("%s: %llu of %llu packets; it does not tell how many were dropped", in_name(),
			 (unsigned long long)c->taken, (unsigned long long)c->seen);
}

/* Behind the packets, for who reads them. */
static void tell_live_json(const struct capture *c, const struct live_counts *counts)
{
	struct text line = {0};

	json_begin(&line, "counts");
	json_time(&line, "time");
	json_text(&line, "interface", options.iface);
	json_number(&line, "packets", c->taken);
	json_number(&line, "dropped", counts->dropped);
	json_number(&line, "interface_dropped", counts->iface_dropped);
	json_line(&line);
}

static void tell_live(struct capture *c)
{
	struct capfile_record record = {.kind = CAPFILE_COUNTS, .iface = live_iface(c->live)};
	struct live_counts counts;

	live_counts(c->live, &counts);
	complain("%s: %llu packets; %llu dropped for lack of room (--buffer), %llu by the interface", options.iface,
		 (unsigned long long)c->taken, (unsigned long long)counts.dropped,
		 (unsigned long long)counts.iface_dropped);
	record.ns = clock_utc_ns();
	record.received = counts.received + counts.dropped;
	record.dropped = counts.iface_dropped;
	record.os_dropped = counts.dropped;
	if (c->nifaces)
		capture_take(c, &record);
	if (settings.json && !c->out)
		tell_live_json(c, &counts);
}

/* ---- opening ---- */

static int cannot_open(const char *name)
{
	complain("%s: %s", name, tn_strerror(-errno));
	return STATUS_FAILED;
}

static int open_in(struct capture *c)
{
	struct stat st;

	c->in = strcmp(options.read, "-") == 0 ? STDIN_FILENO : open(options.read, O_RDONLY | O_CLOEXEC);
	if (c->in < 0 || fstat(c->in, &st) < 0)
		return cannot_open(options.read);
	c->in_regular = S_ISREG(st.st_mode);
	return 0;
}

static int open_files(struct capture *c)
{
	int status = options.read ? open_in(c) : 0;

	if (status == 0 && options.write)
		status = outfile_open(&c->out, &(struct outfile_spec){.path = options.write,
								      .rotate_bytes = options.rotate.bytes,
								      .rotate_ns = options.rotate.ns,
								      .keep = options.keep,
								      .compress = options.compress,
								      .comment = options.comment,
								      .keylog = options.keylog,
								      .input = c->in});
	return status;
}

/* ---- the endpoint, the filter ---- */

static void add_key(struct text *url, const char *key, const char *value)
{
	if (!value)
		return;
	text_add(url, "%c%s=", memchr(url->data, '?', url->len) ? '&' : '?', key);
	for (; *value; value++)
		text_add(url, isalnum((unsigned char)*value) || *value == ':' ? "%c" : "%%%02x", (unsigned char)*value);
}

static int open_follow(struct capture *c)
{
	struct text url = {0};
	int status, kind = options.endpoint ? tn_url_kind(options.endpoint) : 0;

	if (kind > 0 && kind & TN_URL_SECURE) {
		complain("%s: its messages are encrypted: --write FILE.pcapng --keylog FILE, and look with Wireshark",
			 options.endpoint);
		return STATUS_USAGE;
	}
	text_add(&url, "%s", options.endpoint ? options.endpoint : "tcp://localhost:1");
	add_key(&url, "frame", options.frame);
	add_key(&url, "format", options.format);
	text_bytes(&url, "", 1);
	status = url.failed ? STATUS_FAILED : follow_new(&c->follow, &c->sink, url.data, options.memory, options.count);
	text_free(&url);
	return status;
}

/* The endpoint's filter and that of the operands, both of which must match. NULL in *out: there is none. */
static int make_filter(char **operands, char **out)
{
	struct text text = {0};
	char *endpoint = NULL;
	int status = 0;

	for (; *operands; operands++)
		text_add(&text, "%s%s", text.len ? " " : "", *operands);
	if (options.endpoint)
		status = filter_of_url(options.endpoint, &endpoint);
	if (endpoint && text.len) {
		struct text both = {0};

		text_add(&both, "(%s) and (%.*s)", endpoint, (int)text.len, text.data);
		text_free(&text);
		text = both;
	} else if (endpoint) {
		text_add(&text, "%s", endpoint);
	}
	free(endpoint);
	if (text.len)
		text_bytes(&text, "", 1);
	*out = text.data;
	return text.failed ? STATUS_FAILED : status;
}

static int check_options(void)
{
	const char *wrong = NULL;

	if (options.read && options.iface)
		wrong = "--iface and --read: which of the two?";
	else if (!options.follow && (options.frame || options.format))
		wrong = "--frame and --format are for --follow";
	else if (options.hex && options.follow)
		wrong = "-x shows packets, --follow messages: which of the two?";
	else if (options.print && options.follow)
		wrong = "--print shows packets, --follow messages: which of the two?";
	else if (options.keylog && !options.write)
		wrong = "--keylog goes into a file: --write FILE.pcapng";
	else if (options.comment && !options.write)
		wrong = "--comment goes into a file: --write FILE.pcapng";
	else if (options.write && strcmp(options.write, "-") == 0 && (options.print || options.follow))
		wrong = "--write - and lines: standard output can have one of the two";
	else if (!options.write && (options.rotate.bytes || options.rotate.ns || options.compress))
		wrong = "--rotate and --compress are for what is written: --write FILE";
	else if (options.keep && !options.rotate.bytes && !options.rotate.ns)
		wrong = "--keep needs --rotate, which says when the next file begins";
	else if (options.process && options.read)
		wrong = "--process is for interfaces: which process had the packets of a file is not known any more";
	else if (options.timed && settings.json)
		wrong = "--time is for lines: with --json times are in UTC, with nanoseconds";
	else if (options.direction && options.read)
		wrong = "--direction is for interfaces; of a file the filters inbound and outbound say it, where its "
			"link does (cooked)";
	else if (options.direction == LIVE_OUT && options.iface && interfaces_is_loopback(options.iface))
		wrong = "--direction out: what goes out on a loopback comes in at once, and is shown as coming in";
	else if (options.write && strcmp(options.write, "-") == 0 && isatty(STDOUT_FILENO))
		wrong = "--write -: a terminal is no place for it";
	if (!wrong)
		return 0;
	complain("capture: %s", wrong);
	complain_hint("%s capture --help", settings.program);
	return STATUS_USAGE;
}

/* A wrong filter is reported before anything is opened or overwritten. */
static int check_filter(struct capture *c, const char *filter)
{
	return filter ? filter_new(&c->filter, filter) : 0;
}

/*
 * Only a first fragment has ports. The others pass the filter; what is put together is what the first fragments let in.
 */
static int let_fragments_in(struct capture *c, char **filter)
{
	struct text text = {0};

	text_add(&text, "(%s) or (ip[6:2] & 0x1fff != 0) or (ip6[6] = 44 and ip6[42:2] & 0xfff8 != 0)", *filter);
	text_bytes(&text, "", 1);
	if (text.failed)
		return STATUS_FAILED;
	filter_free(c->filter);
	c->filter = NULL;
	free(*filter);
	*filter = text.data;
	return filter_new(&c->filter, *filter);
}

/* Who makes files later on needs no privilege for it but that the folder is his own. */
static int become_owner(uid_t uid, gid_t gid)
{
	struct privileges_user user = {.name = "owner", .uid = uid, .gid = gid};

	return geteuid() != 0 || uid == 0 ? privileges_keep(0) : privileges_leave(&user, 0);
}

static int drop_privileges(const struct capture *c)
{
	uid_t uid;
	gid_t gid;
	int err;

	tzset(); /* while the files of the time zone can be read */
	err = c->out && outfile_owner(c->out, &uid, &gid) ? become_owner(uid, gid) : privileges_drop();
	if (err < 0)
		complain("capture: privileges cannot be given up: %s", tn_strerror(err));
	return err < 0 ? STATUS_FAILED : 0;
}

static int open_live(struct capture *c, const char *filter)
{
	struct live_spec spec = {.filter = filter,
				 .snaplen = options.snaplen,
				 .buffer = options.buffer,
				 .promiscuous = options.promiscuous,
				 .direction = options.direction};

	if (!options.iface)
		options.iface = "any";
	spec.iface = options.iface;
	filter_free(c->filter); /* the kernel has it */
	c->filter = NULL;
	return live_open(&c->live, &spec);
}

static int open_owners(struct capture *c)
{
	int err = owners_new(&c->owners);

	if (err < 0)
		complain("capture: --process: %s", tn_strerror(err));
	return err < 0 ? STATUS_FAILED : 0;
}

static int open_all(struct capture *c, char **filter)
{
	int status = check_filter(c, *filter);

	if (status == 0 && options.follow && *filter)
		status = let_fragments_in(c, filter);
	if (status == 0 && options.follow)
		status = open_follow(c);
	if (status == 0 && !options.read)
		status = open_live(c, *filter);
	if (status == 0)
		status = open_files(c);
	if (status == 0 && options.process)
		status = open_owners(c);
	return status == 0 ? drop_privileges(c) : status;
}

static int run_live(struct capture *c)
{
	struct capfile_record begin = {.kind = CAPFILE_INTERFACE, .iface = live_iface(c->live)};
	struct live_user user = {.take = capture_take,
				 .before = capture_before,
				 .flush = capture_flush,
				 .arg = c,
				 .writes_stdout = writes_stdout(c)};

	return capture_take(c, &begin) < 0 ? STATUS_FAILED : live_run(c->live, &user);
}

static int finish(struct capture *c, int status)
{
	bool fine = true;

	/* The summary stands behind the packets */
	if (capture_flush(c) < 0 && status == STATUS_DONE)
		status = STATUS_FAILED;
	if (out_lost() == -EPIPE)
		return STATUS_DONE; /* nobody reads it, and that is not a failure */
	if (c->follow)
		fine = follow_over(c->follow, c->last_ns);
	if (c->live)
		tell_live(c);
	else if (status != STATUS_FAILED) /* an error has been printed, and counts would say more than was written */
		tell_file(c);
	if (capture_flush(c) < 0 && c->sink.err != -EPIPE && status == STATUS_DONE)
		status = STATUS_FAILED;
	if (outfile_close(c->out) < 0 && status == STATUS_DONE)
		status = STATUS_FAILED;
	c->out = NULL;
	return status == STATUS_DONE && !fine ? STATUS_REFUSED : status;
}

static void capture_end(struct capture *c)
{
	for (uint32_t i = 0; i < c->nifaces; i++)
		free(c->ifaces[i].name);
	free(c->ifaces);
	follow_free(c->follow); /* it may still have something to say */
	(void)outfile_close(c->out);
	free(c->sink.data);
	relative_free(c->relative);
	live_free(c->live);
	filter_free(c->filter);
	owners_free(c->owners);
	if (c->in > STDIN_FILENO)
		close(c->in);
}

#define LINE_WIDTH 100 /* of lines on a wider terminal */

/* Only on a terminal lines are made for people; scripts read the same bytes as ever. */
static int set_style(struct capture *c)
{
	unsigned columns = screen_columns();
	bool terminal = screen_is_terminal() && !settings.json;

	if (terminal && !options.absolute && relative_new(&c->relative) < 0)
		return -ENOMEM;
	line_style(!settings.json && *paint_code(STDOUT_FILENO, PAINT_DIM),
		   !terminal              ? 0
		   : columns < LINE_WIDTH ? columns
					  : LINE_WIDTH,
		   c->relative);
	line_times(options.clock);
	return 0;
}

/* It captures nothing: what asks for packets besides was meant for something else. */
static int list(int count)
{
	if (count == 0 && !options.iface && !options.read && !options.write && !options.endpoint && !options.follow &&
	    !options.direction)
		return interfaces_list();
	complain("capture: --list captures nothing: without a filter, --iface, --read, --write and the like");
	complain_hint("%s capture --list", settings.program);
	return STATUS_USAGE;
}

static int run(char **operands, int count)
{
	struct capture c = {.in = -1};
	char *filter = NULL;
	int status;

	if (options.list)
		return list(count);
	status = check_options();
	c.print = !options.follow && (!options.write || options.print);
	c.sink.data = malloc(SINK_SIZE);
	if (!c.sink.data || set_style(&c) < 0)
		return complain_library(-ENOMEM, NULL);
	if (status == 0)
		status = make_filter(operands, &filter);
	if (status == 0)
		status = open_all(&c, &filter);
	if (status == 0)
		status = finish(&c, c.live ? run_live(&c) : run_file(&c));
	capture_end(&c);
	free(filter);
	return status;
}

/* ---- the command line ---- */

static const char *set_size(const char *value, uint64_t *to, uint64_t min, uint64_t max, const char *range)
{
	int err = tn_parse_size(value, to);

	if (err == 0 && *to >= min && *to <= max)
		return NULL;
	return err == -EINVAL ? "is not a size (4096, 64KiB, 1MiB)" : range;
}

static const char *set_snaplen(const char *value, void *to)
{
	return set_size(value, to, 1, 262144, "is out of range (1 to 256KiB)");
}

static const char *set_memory(const char *value, void *to)
{
	return set_size(value, to, 1U << 16, 1ULL << 40, "is out of range (64KiB to 1TiB)");
}

static const char *set_buffer(const char *value, void *to)
{
	return set_size(value, to, 1U << 12, (1U << 31) - 1, "is out of range (from 4KiB, below 2GiB)");
}

static const char *set_direction(const char *value, void *to)
{
	enum live_direction *direction = to;

	*direction = strcmp(value, "in") == 0 ? LIVE_IN : strcmp(value, "out") == 0 ? LIVE_OUT : LIVE_BOTH;
	return *direction ? NULL : "is neither 'in' nor 'out' (without the option it is both)";
}

/* A number alone is a size. */
static const char *set_rotate(const char *value, void *to)
{
	struct rotation *rotate = to;

	*rotate = (struct rotation){0};
	if (tn_parse_size(value, &rotate->bytes) == 0)
		return rotate->bytes >= 4096 && rotate->bytes <= 1ULL << 50 ? NULL : "is out of range (4KiB to 1PiB)";
	rotate->bytes = 0;
	if (tn_parse_duration(value, &rotate->ns) == 0)
		return rotate->ns ? NULL : "is out of range";
	return "is neither a size (100MiB) nor a duration (1h)";
}

static const char *set_time(const char *value, void *to)
{
	static const char *const names[] = {
		[LINE_LOCAL] = "local", [LINE_DATE] = "date",         [LINE_UTC] = "utc",  [LINE_EPOCH] = "epoch",
		[LINE_DELTA] = "delta", [LINE_RELATIVE] = "relative", [LINE_NONE] = "none"};

	options.timed = true;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(value, names[i]) == 0) {
			*(enum line_clock *)to = (enum line_clock)i;
			return NULL;
		}
	return "is none of local, date, utc, epoch, delta, relative, none";
}

static const struct option_spec own_options[] = {
	{"iface", 'i', OPTION_VALUE, option_set_text, &options.iface, "NAME", "interface to listen on (default any)"},
	{"endpoint", 0, OPTION_VALUE, option_set_text, &options.endpoint, "URL",
	 "only what goes to this endpoint or comes from it"},
	{"read", 'r', OPTION_VALUE, option_set_text, &options.read, "FILE",
	 "read a pcap or pcapng file instead of an interface; -: standard input"},
	{"write", 'w', OPTION_VALUE, option_set_text, &options.write, "FILE",
	 "write packets as pcapng (as pcap if the name ends in .pcap); -: standard output"},
	{"rotate", 0, OPTION_VALUE, set_rotate, &options.rotate, "SIZE|DUR",
	 "begin another file, FILE-2 and so on, before one is larger, or covers more time"},
	{"keep", 0, OPTION_VALUE, option_set_number, &options.keep, "N", "keep N files, and remove the oldest"},
	{"compress", 0, OPTION_ALONE, option_set_flag, &options.compress, NULL,
	 "compress what is written (gzip); also if FILE ends in .gz"},
	{"print", 0, OPTION_ALONE, option_set_flag, &options.print, NULL, "print lines too when packets are written"},
	{"count", 'c', OPTION_VALUE, option_set_number, &options.count, "N",
	 "end after N packets, or N messages with --follow"},
	{"snaplen", 's', OPTION_VALUE, set_snaplen, &options.snaplen, "SIZE",
	 "bytes to keep of each packet (default 256KiB: all)"},
	{"buffer", 0, OPTION_VALUE, set_buffer, &options.buffer, "SIZE",
	 "the kernel's buffer for packets (default 16MiB)"},
	{"direction", 'Q', OPTION_VALUE, set_direction, &options.direction, "WHICH",
	 "in: only what comes in on the interface; out: only what goes out"},
	{"process", 0, OPTION_VALUE, option_set_text, &options.process, "PID|NAME",
	 "only packets of this process (any: of all), and tell whose each is"},
	{"list", 'D', OPTION_ALONE, option_set_flag, &options.list, NULL,
	 "list the interfaces, with their state and addresses, and capture nothing"},
	{"promiscuous", 0, OPTION_ALONE, option_set_flag, &options.promiscuous, NULL, "packets for other machines too"},
	{"time", 0, OPTION_VALUE, set_time, &options.clock, "FORM",
	 "local, date, utc, epoch, delta (since the packet before), relative (since the first), none"},
	{"nanoseconds", 0, OPTION_ALONE, option_set_flag, &options.nanoseconds, NULL,
	 "times of live packets with nine digits"},
	{"hex", 'x', OPTION_ALONE, option_set_flag, &options.hex, NULL, "the bytes of each packet too"},
	{"", 'n', OPTION_ALONE, option_set_nothing, NULL, NULL, NULL},
	{"", 'p', OPTION_ALONE, option_set_nothing, NULL, NULL, NULL},
	{"", 'l', OPTION_ALONE, option_set_nothing, NULL, NULL, NULL},
	{"", 'U', OPTION_ALONE, option_set_nothing, NULL, NULL,
	 "always so: numbers, not promiscuous, each line and packet at once"},
	{"absolute", 'S', OPTION_ALONE, option_set_flag, &options.absolute, NULL,
	 "TCP's sequence numbers as they are, on a terminal too"},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "one JSON object a packet or message"},
	{"follow", 0, OPTION_ALONE, option_set_flag, &options.follow, NULL, "messages instead of packets"},
	{"frame", 0, OPTION_VALUE, option_set_text, &options.frame, "FRAME", "as the key frame of a URL"},
	{"format", 0, OPTION_VALUE, option_set_text, &options.format, "FORMAT", "as the key format of a URL"},
	{"memory", 0, OPTION_VALUE, set_memory, &options.memory, "SIZE",
	 "what --follow may keep of streams (default 64MiB)"},
	{"keylog", 0, OPTION_VALUE, option_set_text, &options.keylog, "FILE",
	 "copy the TLS secrets that are logged in this file into the file that is written"},
	{"comment", 0, OPTION_VALUE, option_set_text, &options.comment, "TEXT",
	 "put a comment into the file that is written"},
	{0},
};

const struct command capture_command = {
	.name = "capture",
	.meaning = "show packets, or the messages in them, from an interface or a file",
	.help = "Examples:\n"
		"  sudo tenon capture --endpoint tcp://localhost:10000\n"
		"  sudo tenon capture --follow --endpoint 'tcp://localhost:7000?frame=u32&format=cbor'\n"
		"  sudo tenon capture --iface eth0 --write trace.pcapng 'port 443'\n"
		"  tenon capture --read trace.pcapng -x 'icmp or arp'\n"
		"\n"
		"Usage:\n"
		"  tenon capture [--iface NAME | --read FILE] [--endpoint URL] [--write FILE] [OPTIONS] [FILTER...]\n"
		"  tenon capture [--write FILE [--rotate SIZE|DUR [--keep N]] [--compress]] [--process PID|NAME]\n"
		"  tenon capture --list [--json]\n"
		"\n"
		"A line is a packet: time, interface, protocol, source and destination, flags, lengths. A filter is\n"
		"in libpcap's language (man 7 pcap-filter); --endpoint makes one of a URL. With --follow a line is a\n"
		"message of a TCP stream or a datagram, in the frame and format of the URL (or of --frame and\n"
		"--format). On a terminal lines are coloured and at most 100 columns wide, and TCP's sequence numbers\n"
		"count from 0.\n",
	.options = own_options,
	.run = run,
};
