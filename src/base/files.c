#include "base/files.h"

#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one file ---- */

void tni_text_free(struct tni_text *text)
{
	if (text->data)
		explicit_bzero(text->data, text->len);
	free(text->data);
	*text = (struct tni_text){0};
}

/* A pipe (a shell's <(...)) has no size to go by, and a file may have any. */
static int read_all(int fd, const char *path, const struct stat *st, struct tni_text *text)
{
	size_t cap = S_ISREG(st->st_mode) && st->st_size < TNI_FILE_MAX ? (size_t)st->st_size + 1 : TNI_FILE_MAX + 1;

	text->mode = S_ISREG(st->st_mode) ? st->st_mode : 0;
	text->data = malloc(cap + 1);
	if (!text->data)
		return tni_err(-ENOMEM, "%s: out of memory", path);
	while (text->len < cap) {
		ssize_t got = read(fd, text->data + text->len, cap - text->len);

		if (got < 0 && errno != EINTR)
			return tni_err(-errno, "%s: %s", path, strerror(errno));
		if (got == 0)
			break;
		text->len += got > 0 ? (size_t)got : 0;
	}
	text->data[text->len] = '\0';
	if (text->len > TNI_FILE_MAX)
		return tni_err(TN_EFORMAT, "%s is too large (16 MiB at most)", path);
	if (!text->len && S_ISFIFO(st->st_mode))
		return tni_err(TN_EFORMAT, "%s is a pipe with nothing in it: what it held can be read only once", path);
	return 0;
}

static int read_open(int fd, const char *path, struct tni_text *text)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return tni_err(-errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return tni_err(-EISDIR, "%s is a directory: name the file in it", path);
	return read_all(fd, path, &st, text);
}

int tni_text_read(const char *path, const char *what, struct tni_text *text)
{
	int fd = tni_file_open(path, TN_FILE_READ), err;

	*text = (struct tni_text){0};
	if (fd == -ENOENT)
		return tni_err(fd, "there is no file %s%s", path, what);
	if (fd < 0)
		return tni_err(fd, "cannot read %s: %s", path, tn_strerror(fd));
	err = read_open(fd, path, text);
	close(fd);
	if (err < 0)
		tni_text_free(text);
	return err;
}

/* ---- how a path stands ---- */

/* The time of the last change of the inode (ctime) tells of a file that was rewritten with its old size and time. */
static struct tni_file_state state_of(const struct tni_file *file)
{
	struct stat st;

	if (tni_file_state(file->path, &st) < 0)
		return (struct tni_file_state){0};
	if (file->kind == TNI_FILE_LOG)
		return (struct tni_file_state){.dev = st.st_dev, .ino = st.st_ino};
	return (struct tni_file_state){.dev = st.st_dev,
				       .ino = st.st_ino,
				       .size = (uint64_t)st.st_size,
				       .mtime = st.st_mtim,
				       .ctime = st.st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_state(const struct tni_file_state *a, const struct tni_file_state *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(&a->mtime, &b->mtime) &&
	       same_time(&a->ctime, &b->ctime);
}

/* Pipes and devices are not watched: what came out of them does not come again. */
static bool can_be_watched(const char *path, enum tni_file_kind kind)
{
	struct stat st;

	if (tni_file_state(path, &st) < 0)
		return true;
	return kind == TNI_FILE_FOLDER || S_ISREG(st.st_mode);
}

/* ---- the list ---- */

/* The state is taken before the file is read: a change in between is then seen as one. */
static struct tni_file *add(struct tni_files *files, const char *path, enum tni_file_kind kind)
{
	struct tni_file *file, *list;

	if (files->count == files->cap) {
		size_t cap = files->cap ? 2 * files->cap : 4;

		list = realloc(files->list, cap * sizeof(*list));
		if (!list)
			return NULL;
		files->list = list;
		files->cap = cap;
	}
	file = &files->list[files->count];
	*file = (struct tni_file){.path = strdup(path), .kind = kind, .watched = can_be_watched(path, kind)};
	if (!file->path)
		return NULL;
	file->read = file->seen = state_of(file);
	files->count++;
	return file;
}

int tni_files_note(struct tni_files *files, const char *path, enum tni_file_kind kind)
{
	return add(files, path, kind) ? 0 : tni_err(-ENOMEM, "%s: out of memory", path);
}

int tni_files_text(struct tni_files *files, const char *path, const char *what, enum tni_file_kind kind,
		   struct tni_text *text)
{
	struct tni_file *file = NULL;
	int err;

	for (size_t i = 0; i < files->count && !file; i++)
		if (files->list[i].text.data && !strcmp(files->list[i].path, path))
			file = &files->list[i];
	if (!file) {
		file = add(files, path, kind);
		if (!file)
			return tni_err(-ENOMEM, "%s: out of memory", path);
		err = tni_text_read(path, what, &file->text);
		if (err < 0)
			return err;
	}
	*text = file->text;
	return 0;
}

void tni_files_forget(struct tni_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		tni_text_free(&files->list[i].text);
}

bool tni_files_changed(struct tni_files *files)
{
	bool changed = false, moving = false;

	for (size_t i = 0; i < files->count; i++) {
		struct tni_file *file = &files->list[i];
		struct tni_file_state now = state_of(file);

		if (!file->watched)
			continue;
		changed |= !same_state(&now, &file->read);
		moving |= !same_state(&now, &file->seen);
		file->seen = now;
	}
	return changed && !moving;
}

bool tni_files_stale(const struct tni_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		struct tni_file_state now = state_of(&files->list[i]);

		if (files->list[i].watched && !same_state(&now, &files->list[i].read))
			return true;
	}
	return false;
}

void tni_files_accept(struct tni_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		files->list[i].read = files->list[i].seen;
}

const char *tni_files_path(const struct tni_files *files, int index)
{
	for (size_t i = 0; i < files->count; i++) {
		const struct tni_file *file = &files->list[i];

		if (file->watched && (file->kind == TNI_FILE_WHOLE || file->kind == TNI_FILE_FOLDER) && index-- == 0)
			return file->path;
	}
	return NULL;
}

void tni_files_free(struct tni_files *files)
{
	tni_files_forget(files);
	for (size_t i = 0; i < files->count; i++)
		free(files->list[i].path);
	free(files->list);
	*files = (struct tni_files){0};
}
