#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/complain.h"
#include "common/sizes.h"
#include "tenon.h"

#define GENERATED_MAX (UINT64_C(256) << 20) /* bytes */

static int message_put(struct messages *messages, struct message message)
{
	if (messages->count == messages->cap) {
		size_t cap = messages->cap ? messages->cap * 2 : 16;
		struct message *grown = realloc(messages->list, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		messages->list = grown;
		messages->cap = cap;
	}
	messages->list[messages->count++] = message;
	messages->waiting += message.len;
	return 0;
}

int messages_add(struct messages *messages, const void *data, size_t len)
{
	char *memory = malloc(len + 1);
	int err;

	if (!memory)
		return -ENOMEM;
	memcpy(memory, data, len);
	err = message_put(messages, (struct message){memory, len, memory});
	if (err < 0)
		free(memory);
	return err; /* cppcheck-suppress memleak ; the list has it */
}

/* Letters and digits: every frame can carry them. */
static void fill(char *to, size_t len, uint64_t *random)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i < len; i++) {
		*random = *random * 6364136223846793005 + 1442695040888963407;
		to[i] = letters[*random >> 58];
	}
}

int messages_generate(struct messages *messages, const struct sizes *sizes, unsigned count)
{
	char *data = malloc(sizes->max);
	uint64_t random = 1, left = GENERATED_MAX;
	int rc = data ? 0 : -ENOMEM;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random ^= (uint64_t)getpid();
	for (unsigned i = 0; i < count && rc == 0; i++) {
		uint64_t drawn = random * UINT64_C(0x9e3779b97f4a7c15);
		size_t len = (size_t)sizes_draw(sizes, drawn ^ drawn >> 32);

		if (len > left)
			rc = -EFBIG;
		left -= len;
		fill(data, len, &random);
		if (rc == 0)
			rc = messages_add(messages, data, len);
	}
	free(data);
	return rc;
}

/* Reads to the end: only a regular file tells its size. */
static int read_all(int fd, struct message *message)
{
	size_t cap = 0;
	ssize_t got = 1;

	while (got > 0) {
		if (message->len == cap) {
			char *grown = realloc(message->memory, cap = cap ? cap * 2 : 65536);

			if (!grown)
				return -ENOMEM;
			message->data = message->memory = grown;
		}
		got = read(fd, message->memory + message->len, cap - message->len);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got < 0)
			return -errno;
		else
			message->len += (size_t)got;
	}
	return 0;
}

/* Mapped, so that a file larger than memory can be sent. */
static int read_file(int fd, struct message *message)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map != MAP_FAILED) {
			message->data = map;
			message->len = (size_t)st.st_size;
			return 0;
		}
	}
	return read_all(fd, message);
}

static int add_file(struct messages *messages, const char *path)
{
	struct message message = {.data = ""};
	bool standard = strcmp(path, "-") == 0;
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : read_file(fd, &message);

	if (fd >= 0 && !standard)
		close(fd);
	if (err == 0)
		err = message_put(messages, message);
	if (err == 0)
		return 0;
	free(message.memory);
	complain("%s: %s", standard ? "standard input" : path, tn_strerror(err));
	return -1;
}

int messages_add_argument(struct messages *messages, const char *argument)
{
	if (argument[0] == '@' && argument[1] != '@')
		return add_file(messages, argument + 1);
	if (argument[0] == '@')
		argument++;
	if (message_put(messages, (struct message){.data = argument, .len = strlen(argument)}) == 0)
		return 0;
	complain("%s", tn_strerror(-ENOMEM));
	return -1;
}

/* Lines that come without end are not kept: with one round, what has been sent is freed. */
static void forget_taken(struct messages *messages)
{
	if (messages->rounds > 1 || messages->next == 0 || messages->next < messages->count)
		return;
	for (size_t i = 0; i < messages->count; i++)
		free(messages->list[i].memory);
	messages->count = messages->next = 0;
}

static void next_round(struct messages *messages)
{
	messages->rounds--;
	messages->next = 0;
	for (size_t i = 0; i < messages->count; i++)
		messages->waiting += messages->list[i].len;
}

bool messages_take(struct messages *messages, struct message *message)
{
	if (messages->next == messages->count && messages_ready(messages))
		next_round(messages);
	forget_taken(messages);
	if (messages->next == messages->count)
		return false;
	*message = messages->list[messages->next++];
	messages->waiting -= message->len;
	return true;
}

bool messages_ready(const struct messages *messages)
{
	return messages->next < messages->count || (messages->complete && messages->rounds > 1 && messages->count > 0);
}

bool messages_over(const struct messages *messages)
{
	return messages->complete && !messages_ready(messages);
}
