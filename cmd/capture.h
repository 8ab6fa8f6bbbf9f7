/* `tenon capture`: what its files share. */
#ifndef TENON_CAPTURE_H
#define TENON_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet/capfile.h"
#include "packet/packet.h"

struct capture_options {
	const char *iface, *endpoint, *read, *write, *frame, *format, *keylog, *comment;
	unsigned count;
	uint64_t snaplen, memory, buffer;
	bool follow, hex, print, promiscuous, absolute;
};

/* Where packets come from goes here, as records do to what is done with each. */
struct capture;

/* Takes one record: filters, prints, writes, follows. 0; 1: no more are wanted; < 0: the output has failed. */
int capture_take(struct capture *capture, struct capfile_record *record);

/* Before packets that have waited: the keys to them come first. 0 or < 0. */
int capture_before(struct capture *capture);

/* Lets go of what is kept for the output: when no packet waits. 0 or < 0. */
int capture_flush(struct capture *capture);

/* Whether lines or packets go to standard output. */
bool capture_uses_stdout(const struct capture *capture);

/* ---- lines (capture_line.c, capture_json.c) ---- */

/* Text on its way to standard output. */
struct sink {
	char *data;
	size_t len;
	int err;
};

#define SINK_ROOM 8192 /* more than any line of one packet, its hex and message left out */

/* Where at least SINK_ROOM bytes may be written; then sink_end(). */
char *sink_begin(struct sink *sink);

static inline void sink_end(struct sink *sink, const char *end)
{
	sink->len = (size_t)(end - sink->data);
}

void sink_bytes(struct sink *sink, const void *data, size_t len);
int sink_flush(struct sink *sink);

/* What to say of a packet beside itself. */
struct line_extra {
	const char *iface; /* printable; NULL: not told */
	bool nanoseconds, verbose, hex;
	const char *comment;
	uint32_t comment_len;
};

/*
 * How lines look from now on: with colours or without, and on a terminal no wider than its `columns` (0: no terminal),
 * with numbers of TCP counted from each direction's beginning (`relative`, which stays the caller's; NULL: as they
 * are).
 */
struct relative;
void line_style(bool colours, unsigned columns, struct relative *relative);

/* Colours among the parts of a line: nothing where there are none. */
char *line_paint(char *p, int paint);

void line_packet(struct sink *sink, const struct packet *packet, uint64_t ns, const struct line_extra *extra);
void line_json(struct sink *sink, const struct packet *packet, uint64_t ns, const struct line_extra *extra);

/* Their parts. */
char *line_time(char *p, uint64_t ns, bool nanoseconds);
char *line_time_json(char *p, uint64_t ns);
char *line_endpoint(char *p, unsigned ip, const unsigned char *addr, bool has_port, uint16_t port);
char *line_flags(char *p, unsigned flags);
char *line_icmp(char *p, const struct packet *packet);
const char *line_protocol(const struct packet *packet);
const char *line_link(unsigned link);

/* Bytes as text that no terminal trips over: \n, \x1b, \\. Adds to the sink. */
void line_escaped(struct sink *sink, const void *data, size_t len);

/* Bytes as a JSON string, as output.h says. */
void line_json_string(struct sink *sink, const void *data, size_t len);

/* A comma and the member "data"; where it is not UTF-8, "data_base64" too. */
void line_json_data(struct sink *sink, const void *data, size_t len);

/* ---- relative numbers (capture_relative.c) ---- */

int relative_new(struct relative **relative); /* -1: no memory */
void relative_free(struct relative *relative);

/* Makes seq and ack of a TCP packet relative; the numbers of its SACK options are by `sack_base`. Others stay as they
 * are. */
void relative_make(struct relative *relative, struct packet *packet, uint32_t *sack_base);

/* ---- messages (capture_follow.c) ---- */

struct follow;

/*
 * URL: whose frame and format messages have. `most`: so many messages are shown (0: all). Returns 0, or the exit
 * status: a person has been told.
 */
int follow_new(struct follow **follow, struct sink *sink, const char *url, size_t memory, uint64_t most);

/* Whether as many messages as wanted have been shown. */
bool follow_is_full(const struct follow *follow);
int follow_packet(struct follow *follow, const struct packet *packet, uint64_t ns, bool nanoseconds);

/* Ends every stream and adds what is to be told in the end. Whether every message was what it should be. */
bool follow_over(struct follow *follow, uint64_t ns);
void follow_free(struct follow *follow);

/* ---- filters (capture_filter.c) ---- */

struct filter;

/* Reads a filter for a link type. Returns 0, or the exit status: a person has been told why and where. */
int filter_new(struct filter **filter, const char *text);
bool filter_matches(struct filter *filter, unsigned link, const struct capfile_record *record);
void filter_free(struct filter *filter);

/* The filter that an endpoint's URL stands for, to be freed. Returns 0, or the exit status: told. */
int filter_of_url(const char *url, char **text);

/* ---- live (capture_live.c) ---- */

struct live;

struct live_counts {
	uint64_t received, dropped, iface_dropped;
};

/* Opens the device, filter included. Returns 0, or the exit status: told. */
int live_open(struct live **live, const struct capture_options *options, const char *filter);
const struct capfile_iface *live_iface(const struct live *live);

/* The interface of this number, as cooked packets of `any` tell it; NULL: there is none any more. */
const char *live_iface_name(struct live *live, unsigned index);

/* Hands packets to the capture until it wants no more or a signal comes. Returns the exit status. */
int live_run(struct live *live, struct capture *capture);
void live_counts(struct live *live, struct live_counts *counts);
void live_free(struct live *live);

#endif
