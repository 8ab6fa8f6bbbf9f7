/*
 * Option --record: what passes in sessions, as a capture file (pcapng) that this program, tshark and all others read.
 * Nothing here makes a session wait: what does not fit into the memory that recording may use is not recorded, and
 * counted.
 */
#ifndef TENON_RECORDER_H
#define TENON_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tenon.h"

struct sandbox;

/* The options, for a command's table. */
struct recorder_options {
	const char *path; /* NULL: nothing is recorded */
	uint64_t size;    /* of a file, after which the next begins; 0: no limit */
	uint64_t every_ns;
	unsigned files; /* that are kept; 0: all */
	uint64_t memory;
};

extern struct recorder_options recorder_options;

const char *recorder_set_size(const char *value, void *to);
const char *recorder_set_memory(const char *value, void *to);

#define RECORD_MEANING "record what passes in every session, as a capture file (pcapng)"
#define RECORD_SIZE_MEANING "begin another file, FILE-2 and so on, when one has this size"
#define RECORD_EVERY_MEANING "begin another file after this time"
#define RECORD_FILES_MEANING "keep so many files, and remove the oldest"
#define RECORD_MEMORY_MEANING "what waits to be written; more is not recorded, and counted (default 16MiB)"

bool recorder_is_wanted(void);

/* Whether the options make sense together. Returns the exit status, after printing an error. */
int recorder_check(const char *command);

/* Whether sessions of this endpoint can be recorded. Returns the exit status, after printing an error. */
int recorder_check_url(const char *command, const char *url);

/* Opens the file: before the sandbox. Returns the exit status, after printing an error. */
int recorder_open(const char *command);

/* What the sandbox has to allow. */
void recorder_allow(struct sandbox *box);

/* Starts writing: in the sandbox, before there are sessions. Returns the exit status. */
int recorder_start(void);

/* Something could not be recorded for want of memory. */
void recorder_lose(void);

/* Writes what is left, and tells what is missing. When all sessions have ended. */
void recorder_close(void);

/* ---- one session ---- */

struct recording;

enum recording_side { RECORDING_CLIENT, RECORDING_SERVER };

struct recording_ends {
	uint64_t id;
	const struct tn_addr *client, *local; /* its addresses; those of Unix sockets are told in a comment */
	const char *url;                      /* of the endpoint */
	const char *client_text;              /* the client's address, as a URL */
	bool datagrams, messages;             /* UDP; otherwise whether messages have bounds */
};

/* A session begins. From any thread, but each in one. NULL, which all others take: there is no memory. */
struct recording *recording_new(const struct recording_ends *ends);

/* A datagram that belongs to no session: its ends, and who has said it. */
void recording_datagram(const struct recording_ends *ends, enum recording_side from, const struct tn_msg *msg,
			const char *format);

/* It goes on to this target; NULL: to none, it is answered here. */
void recording_reached(struct recording *recording, const char *target);

/* A side has said this; `format`: of what it says, or NULL. */
void recording_data(struct recording *recording, enum recording_side from, const struct tn_msg *msg,
		    const char *format);

/* A side has ended its direction. */
void recording_ended(struct recording *recording, enum recording_side from);

/* The session is over; frees it. `why` (NULL: in good order) and `by` are words. `reset`: it was not closed in good
 * order. */
void recording_close(struct recording *recording, enum recording_side side, const char *by, const char *why,
		     bool reset);

#endif
