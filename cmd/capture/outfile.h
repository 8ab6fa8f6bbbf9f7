/* The file that packets are written into, or one after another: --write, --rotate, --keep, --compress, --keylog. */
#ifndef TENON_CAPTURE_OUTFILE_H
#define TENON_CAPTURE_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "packet/capfile.h"

struct outfile_spec {
	const char *path;      /* -: standard output */
	uint64_t rotate_bytes; /* a file has no more packets than fit into this, and at least one; 0: any number */
	uint64_t rotate_ns;    /* and none that is later than its first by this; 0: whatever their times */
	unsigned keep;         /* so many files stay; 0: all */
	bool compress;         /* also where `path` ends in .gz */
	const char *comment;   /* NULL: none */
	const char *keylog;    /* a file to which lines are added; NULL: none */
	int input;             /* that must not be written over; -1: none */
};

struct outfile;

/* Opens it. Returns 0, or the exit status after printing an error. */
int outfile_open(struct outfile **out, const struct outfile_spec *spec);

/* Whose the folder is in which further files are made. False: there are no further ones. */
bool outfile_owner(const struct outfile *out, uid_t *uid, gid_t *gid);

bool outfile_is_stdout(const struct outfile *out);

/* Its number, from 0; `iface` must stay where it is. < 0: an error has been printed. */
int outfile_interface(struct outfile *out, const struct capfile_iface *iface);

/* Each returns 0 or < 0. `iface_id` of a record is what outfile_interface() returned. */
int outfile_packet(struct outfile *out, const struct capfile_record *record);
int outfile_counts(struct outfile *out, const struct capfile_record *record);
int outfile_secrets(struct outfile *out, const void *data, size_t len);
int outfile_comment(struct outfile *out, const char *comment, size_t len);

/* Copies what has been added to the key log. */
int outfile_take_keys(struct outfile *out);

/* A reader of the file sees all of it. */
int outfile_flush(struct outfile *out);

/* Writes what is left, and ends. `out` may be NULL. */
int outfile_close(struct outfile *out);

#endif
