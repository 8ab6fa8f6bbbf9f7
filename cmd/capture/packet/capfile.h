/*
 * Capture files: pcap (both byte orders, micro- and nanoseconds, the old variants) and pcapng. The reader trusts no
 * length, and knows at which byte a file is damaged. Both sides read and write through a function, so nothing here
 * opens a file.
 */
#ifndef PACKET_CAPFILE_H
#define PACKET_CAPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What packets were captured on. */
struct capfile_iface {
	uint16_t link;             /* LINK_... of packet.h */
	uint32_t snaplen;          /* 0: no limit */
	char *name;                /* NULL: not known */
	char *filter;              /* in libpcap's language; NULL: not known */
	bool nanoseconds;          /* its times are finer than microseconds */
	uint64_t per_second, unit; /* of its clock; unit: ns of a tick where that is a whole number, or else 0 */
	int64_t offset_s;
};

enum capfile_kind {
	CAPFILE_PACKET,
	CAPFILE_INTERFACE, /* packets of a new interface may follow */
	CAPFILE_COUNTS,    /* what an interface has counted */
	CAPFILE_SECRETS,   /* lines of a TLS key log */
	CAPFILE_COMMENT,   /* on the file as a whole */
};

#define CAPFILE_UNCOUNTED UINT64_MAX

struct capfile_record {
	enum capfile_kind kind;
	uint64_t position;                 /* of the record, in bytes from the file's start */
	const struct capfile_iface *iface; /* packet, interface, counts; valid as long as the file */
	uint32_t iface_id;                 /* its number, from 0, through all sections */
	uint64_t ns;                       /* since 1970; 0 where there is no time */
	const unsigned char *data;         /* packet, secrets: valid until the next record is asked for */
	uint32_t caplen, len;
	const unsigned char *head; /* packet to be written: what stands before `data`; NULL: nothing */
	uint32_t head_len;         /* is part of caplen */
	const char *comment;       /* packet, comment: without a zero byte behind it; NULL: none */
	uint32_t comment_len;
	uint64_t received, dropped, os_dropped; /* counts: CAPFILE_UNCOUNTED: not counted */
};

/* ---- reading ---- */

struct capfile;

/* Reads up to `len` bytes: how many; 0: the end; a negative errno. */
typedef long capfile_read_fn(void *arg, void *buf, size_t len);

/* Returns 0 or -ENOMEM. Nothing is read yet. */
int capfile_new(struct capfile **file, capfile_read_fn *read, void *arg);
void capfile_free(struct capfile *file);

/*
 * The next record. Returns 1; 0: the file has ended where it may; TN_EFORMAT, TN_ETRUNC, TN_ETOOBIG: it is damaged, see
 * capfile_why(); -ENOMEM; what `read` returned.
 */
int capfile_next(struct capfile *file, struct capfile_record *record);

/* Why it failed, and at which byte of the file. */
const char *capfile_why(const struct capfile *file, uint64_t *position);

/* ---- writing ---- */

struct capwriter;

/* Writes all of it. 0 or a negative errno. */
typedef int capfile_write_fn(void *arg, const void *data, size_t len);

/*
 * Begins a file: pcapng with the program's name and a comment (NULL: none), or `plain` pcap, which knows neither these
 * nor counts and secrets. Returns 0 or -ENOMEM. After that nothing is written before there is an interface.
 */
int capwriter_new(struct capwriter **writer, capfile_write_fn *write, void *arg, bool plain, const char *program,
		  const char *comment, size_t comment_len);

/* Ends without writing what is still kept: capwriter_flush() first. */
void capwriter_free(struct capwriter *writer);

/*
 * What is to be written is kept in this buffer of CAPWRITER_KEPT bytes from now on, when nothing is kept, or in
 * `write`, which then has the one before to itself: so it need not copy. The caller owns it.
 */
#define CAPWRITER_KEPT (1U << 20)
void capwriter_keep_in(struct capwriter *writer, void *buffer);

/* Returns the interface's number, from 0; -EINVAL: plain pcap has one link type for all its packets;
 * what `write` said. */
int capwriter_interface(struct capwriter *writer, const struct capfile_iface *iface);

/* Each returns 0 or what `write` said. `iface_id`, `ns`, `data`, lengths, comment and counts of the record count. */
int capwriter_packet(struct capwriter *writer, const struct capfile_record *record);
int capwriter_counts(struct capwriter *writer, const struct capfile_record *record);
int capwriter_secrets(struct capwriter *writer, const void *data, size_t len);
int capwriter_comment(struct capwriter *writer, const char *comment, size_t len);
int capwriter_flush(struct capwriter *writer);

#endif
