#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/complain.h"
#include "common/output.h"
#include "common/series.h"
#include "common/status.h"
#include "common/text.h"
#include "gzip.h"
#include "tenon.h"

#define SECRETS_READ 65536
#define BLOCK_SIZE 48 /* what a packet's block has besides its bytes, and a little more */
#define HEAD_SIZE 512 /* what stands before the first packet of a file */
#define OVER_INPUT "would be written over what is read"

struct outfile {
	struct outfile_spec spec;
	struct series series;
	char *path; /* without .gz */
	struct capwriter *writer;
	struct gzip *gzip; /* NULL: it is not compressed */
	bool plain, failed;
	int fd, keylog; /* -1: none */
	const struct capfile_iface **ifaces;
	unsigned nifaces;
	struct text comment;
	struct text secrets; /* all so far, for the files that follow */
	uint64_t in_file, since_ns;
	bool has_packets;
	char *keys; /* lines of the key log that are not whole yet */
	size_t keys_len, keys_cap;
};

static bool rotates(const struct outfile *out)
{
	return out->spec.rotate_bytes || out->spec.rotate_ns;
}

static bool ends_in(const char *path, const char *end)
{
	size_t len = strlen(path);

	return len > strlen(end) && strcmp(path + len - strlen(end), end) == 0;
}

/* ---- bytes ---- */

static int write_raw(void *arg, const void *data, size_t len)
{
	struct outfile *out = arg;
	const char *from = data;
	char name[PATH_MAX];

	if (out->fd == STDOUT_FILENO)
		return out_bytes(data, len);
	while (len > 0) {
		ssize_t done = write(out->fd, from, len);

		if (done < 0 && errno != EINTR) {
			int err = -errno;

			if (!out->failed)
				complain("%s: %s", series_name(&out->series, out->series.number, name, sizeof(name)),
					 tn_strerror(err));
			out->failed = true;
			return err;
		}
		if (done > 0) {
			from += done;
			len -= (size_t)done;
		}
	}
	return 0;
}

static int write_out(void *arg, const void *data, size_t len)
{
	struct outfile *out = arg;

	return out->gzip ? gzip_write(out->gzip, data, len) : write_raw(arg, data, len);
}

int outfile_flush(struct outfile *out)
{
	int err = out->writer ? capwriter_flush(out->writer) : 0;

	return err == 0 && out->gzip ? gzip_flush(out->gzip) : err;
}

/* ---- files ---- */

static int end_file(struct outfile *out)
{
	int err = out->writer && !out->failed ? capwriter_flush(out->writer) : 0;

	if (err == 0 && out->gzip && !out->failed)
		err = gzip_end(out->gzip);
	gzip_free(out->gzip);
	out->gzip = NULL;
	capwriter_free(out->writer);
	out->writer = NULL;
	if (out->fd > STDERR_FILENO)
		close(out->fd);
	out->fd = -1;
	return err;
}

/* The head of a file, with all that is known by now. */
static int begin_file(struct outfile *out)
{
	int err = out->spec.compress ? gzip_new(&out->gzip, write_raw, out) : 0;

	if (err == 0)
		err = capwriter_new(&out->writer, write_out, out, out->plain, "tenon",
				    out->comment.len ? out->comment.data : NULL, out->comment.len);
	if (err < 0)
		return complain_library(err, NULL), err;
	for (unsigned i = 0; i < out->nifaces && err >= 0; i++)
		err = capwriter_interface(out->writer, out->ifaces[i]);
	if (err >= 0)
		err = capwriter_secrets(out->writer, out->secrets.data, out->secrets.len);
	out->in_file = HEAD_SIZE + out->comment.len + out->secrets.len;
	out->has_packets = false;
	return err < 0 ? err : 0;
}

static bool is_input(const struct outfile *out, unsigned number)
{
	char name[PATH_MAX];
	struct stat one, other;

	return out->spec.input >= 0 && fstat(out->spec.input, &one) == 0 &&
	       stat(series_name(&out->series, number, name, sizeof(name)), &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

/* If it fails there is no writer any more. */
static int next_file(struct outfile *out)
{
	char name[PATH_MAX];
	int err = end_file(out);

	if (err < 0)
		return err;
	if (is_input(out, out->series.number + 1)) {
		complain("%s: " OVER_INPUT, series_name(&out->series, out->series.number + 1, name, sizeof(name)));
		return -EEXIST;
	}
	out->fd = series_next(&out->series);
	if (out->fd < 0) {
		err = out->fd;
		complain("%s: %s", series_name(&out->series, out->series.number, name, sizeof(name)), tn_strerror(err));
		return err;
	}
	return begin_file(out);
}

static bool is_full(const struct outfile *out, const struct capfile_record *record, size_t len)
{
	return out->has_packets && ((out->spec.rotate_bytes && out->in_file + len > out->spec.rotate_bytes) ||
				    (out->spec.rotate_ns && record->ns > out->since_ns &&
				     record->ns - out->since_ns >= out->spec.rotate_ns));
}

/* ---- records ---- */

int outfile_interface(struct outfile *out, const struct capfile_iface *iface)
{
	const struct capfile_iface **grown = realloc(out->ifaces, (out->nifaces + 1) * sizeof(*grown));
	int id;

	if (!grown)
		return complain_library(-ENOMEM, NULL), -ENOMEM;
	out->ifaces = grown;
	id = capwriter_interface(out->writer, iface);
	if (id == -EINVAL)
		complain("%s: a .pcap file takes packets of one kind of link: --write FILE.pcapng", out->spec.path);
	if (id >= 0)
		out->ifaces[out->nifaces++] = iface;
	return id;
}

int outfile_packet(struct outfile *out, const struct capfile_record *record)
{
	size_t len = BLOCK_SIZE + record->caplen + record->comment_len;
	int err = is_full(out, record, len) ? next_file(out) : 0;

	if (!out->has_packets)
		out->since_ns = record->ns;
	out->has_packets = true;
	out->in_file += len;
	return err < 0 ? err : capwriter_packet(out->writer, record);
}

int outfile_counts(struct outfile *out, const struct capfile_record *record)
{
	return out->writer ? capwriter_counts(out->writer, record) : -EIO;
}

int outfile_secrets(struct outfile *out, const void *data, size_t len)
{
	if (rotates(out)) {
		text_bytes(&out->secrets, data, len);
		out->in_file += len;
	}
	return out->writer ? capwriter_secrets(out->writer, data, len) : -EIO;
}

int outfile_comment(struct outfile *out, const char *comment, size_t len)
{
	if (out->spec.comment)
		return 0;
	out->comment.len = 0;
	text_bytes(&out->comment, comment, len);
	return capwriter_comment(out->writer, comment, len);
}

/* ---- the key log ---- */

static size_t whole_lines(const char *text, size_t len)
{
	const char *end = len ? memrchr(text, '\n', len) : NULL;

	return end ? (size_t)(end + 1 - text) : 0;
}

int outfile_take_keys(struct outfile *out)
{
	ssize_t got = 1;
	size_t whole;
	int err = 0;

	while (out->keylog >= 0 && got > 0 && err == 0) {
		if (out->keys_cap - out->keys_len < SECRETS_READ) {
			char *grown = realloc(out->keys, out->keys_cap + SECRETS_READ);

			if (!grown)
				return -ENOMEM;
			out->keys = grown;
			out->keys_cap += SECRETS_READ;
		}
		got = read(out->keylog, out->keys + out->keys_len, out->keys_cap - out->keys_len);
		if (got <= 0)
			break;
		out->keys_len += (size_t)got;
		whole = whole_lines(out->keys, out->keys_len);
		if (whole)
			err = outfile_secrets(out, out->keys, whole);
		memmove(out->keys, out->keys + whole, out->keys_len - whole);
		out->keys_len -= whole;
	}
	return err;
}

/* ---- opening ---- */

static int cannot_open(const char *name, int err)
{
	complain("%s: %s", name, tn_strerror(err));
	return STATUS_FAILED;
}

static int check_spec(const struct outfile *out)
{
	const char *why = NULL;

	if (!outfile_is_stdout(out) && is_input(out, 1))
		why = OVER_INPUT;
	else if (out->plain && (out->spec.comment || out->spec.keylog))
		why = "a .pcap file has no comments and no keys: --write FILE.pcapng";
	else if (outfile_is_stdout(out) && rotates(out))
		why = "standard output is one file: --rotate is for --write FILE";
	else if (out->spec.compress && !gzip_is_there())
		why = "this build compresses nothing (configure it with -Dzlib=enabled)";
	if (!why)
		return STATUS_DONE;
	complain("%s: %s", out->spec.path, why);
	return STATUS_USAGE;
}

static int open_first(struct outfile *out)
{
	int status = check_spec(out);

	if (status != STATUS_DONE)
		return status;
	if (out->spec.keylog) {
		out->keylog = open(out->spec.keylog, O_RDONLY | O_CLOEXEC);
		if (out->keylog < 0)
			return cannot_open(out->spec.keylog, -errno);
	}
	out->fd = outfile_is_stdout(out) ? STDOUT_FILENO : series_next(&out->series);
	if (out->fd < 0)
		return cannot_open(out->spec.path, out->fd);
	if (out->spec.comment)
		text_add(&out->comment, "%s", out->spec.comment);
	return begin_file(out) < 0 || outfile_take_keys(out) < 0 ? STATUS_FAILED : STATUS_DONE;
}

int outfile_open(struct outfile **to, const struct outfile_spec *spec)
{
	struct outfile *out = calloc(1, sizeof(*out));
	int status;

	*to = NULL;
	if (out)
		out->path = strdup(spec->path);
	if (!out || !out->path) {
		free(out);
		return complain_library(-ENOMEM, NULL);
	}
	out->spec = *spec;
	out->fd = out->keylog = -1;
	if (ends_in(out->path, ".gz")) {
		out->path[strlen(out->path) - 3] = '\0';
		out->spec.compress = true;
	}
	out->series = (struct series){.path = out->path, .keep = spec->keep};
	if (out->spec.compress && !outfile_is_stdout(out))
		out->series.suffix = ".gz";
	out->plain = ends_in(out->path, ".pcap");
	status = open_first(out);
	if (status == STATUS_DONE)
		*to = out;
	else
		(void)outfile_close(out);
	return status;
}

bool outfile_owner(const struct outfile *out, uid_t *uid, gid_t *gid)
{
	char folder[PATH_MAX], *slash;
	struct stat st;

	if (!rotates(out))
		return false;
	snprintf(folder, sizeof(folder), "%s", out->path);
	slash = strrchr(folder, '/');
	if (slash == folder)
		slash++;
	if (slash)
		*slash = '\0';
	if (stat(slash ? folder : ".", &st) < 0)
		return false;
	*uid = st.st_uid;
	*gid = st.st_gid;
	return true;
}

bool outfile_is_stdout(const struct outfile *out)
{
	return strcmp(out->spec.path, "-") == 0;
}

int outfile_close(struct outfile *out)
{
	int err = out ? end_file(out) : 0;

	if (!out)
		return 0;
	if (out->keylog >= 0)
		close(out->keylog);
	text_free(&out->comment);
	text_free(&out->secrets);
	free(out->ifaces);
	free(out->keys);
	free(out->path);
	free(out);
	return err;
}
