/*
 * The files that credentials and lists of addresses are made from. Each is read once, so that a certificate and its key
 * in one file belong together, and so that a pipe can be named twice. Each is watched by its path: a link that points
 * elsewhere, a directory that was replaced and a file that was rewritten or renamed are all changes.
 */
#ifndef TNI_BASE_FILES_H
#define TNI_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define TNI_FILE_MAX (16L << 20) /* a system's whole list of authorities is some 220 KiB */

/* What a file holds. One 0 byte follows the last. `mode` is 0 where it is no regular file. */
struct tni_text {
	unsigned char *data;
	size_t len;
	mode_t mode;
};

/* Reads a file. `what` it should hold stands in the message about a file that is not there. 0; -errno, TN_EFORMAT: too
 * large; -ENOMEM. */
int tni_text_read(const char *path, const char *what, struct tni_text *text);

/* Wipes and frees. */
void tni_text_free(struct tni_text *text);

enum tni_file_kind {
	TNI_FILE_WHOLE,  /* it was read */
	TNI_FILE_FOLDER, /* the files in it were read */
	TNI_FILE_INSIDE, /* one of those */
	TNI_FILE_LOG,    /* it is written to: a change is another file at its place */
};

struct tni_file {
	char *path;
	enum tni_file_kind kind;
	bool watched; /* not a pipe, which cannot be read again */
	struct tni_file_state {
		uint64_t dev, ino, size;
		struct timespec mtime, ctime;
	} read, seen; /* as it was when it was read, and when it was last looked at */
	struct tni_text text;
};

struct tni_files {
	struct tni_file *list;
	size_t count, cap;
};

/* What stands in a file, which is read the first time only. The bytes of `text` stay the list's, until
 * tni_files_forget(). The codes of tni_text_read(). */
int tni_files_text(struct tni_files *files, const char *path, const char *what, enum tni_file_kind kind,
		   struct tni_text *text);

/* Adds a path that is not read. 0 or -ENOMEM. */
int tni_files_note(struct tni_files *files, const char *path, enum tni_file_kind kind);

/* The contents are not needed any more: wipes them. */
void tni_files_forget(struct tni_files *files);

/* Whether a file has changed since it was read, and has not changed since this was asked last. */
bool tni_files_changed(struct tni_files *files);

/* Whether a file has changed since it was read. */
bool tni_files_stale(const struct tni_files *files);

/* What the files hold now is taken as read. */
void tni_files_accept(struct tni_files *files);

/* The paths that must stay readable: the n-th, or NULL. A folder stands for everything in it. */
const char *tni_files_path(const struct tni_files *files, int index);

void tni_files_free(struct tni_files *files);

#endif
