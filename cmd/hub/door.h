/*
 * What a door is: a transform between the bytes (or messages) of one protocol and the hub's verbs. It has no socket,
 * clock or thread, and knows neither other clients nor other doors. A new one is a struct door, and a row in the table
 * of hub.c. The verbs are in exchange.c; whoever tests a door brings verbs of his own.
 */
#ifndef TENON_HUB_DOOR_H
#define TENON_HUB_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct iovec;
struct kept;
struct tn_shared;

/* Bytes that belong to somebody else. */
struct span {
	const char *data;
	size_t len;
};

/* A message on its way, valid during the call that it is given to. Headers are as NATS has them, "NATS/1.0\r\n...". */
struct message {
	struct span topic, reply; /* reply of length 0: none is wanted */
	struct span body;         /* headers, then the payload */
	size_t head_len;          /* of the headers; 0: none */
	uint64_t serial;          /* the hub's: another one for each message of a thread */
	uint64_t offset;          /* of one that stays (--topic); 0: it does not */
	uint64_t from;            /* the hub's: number of the client that must not get it; 0: none */
	struct kept *kept;        /* the hub's */
	uint64_t missed;          /* so many of its topic were lost in front of it (--number) */
	unsigned takers;          /* how many have got it here */
	bool elsewhere;           /* others may have got it too, where the hub has joined (--join) */
	bool nobody;              /* it says that nobody responds to what was asked, as a status of NATS */
};

/* What is behind the headers. An empty body may be at no address. */
static inline struct span message_payload(const struct message *m)
{
	return m->body.len ? (struct span){m->body.data + m->head_len, m->body.len - m->head_len}
			   : (struct span){"", 0};
}

enum notice {
	NOTICE_LEAVE,   /* the hub ends soon: go elsewhere */
	NOTICE_SLOW,    /* the client is cut off, as it reads too slowly */
	NOTICE_SILENT,  /* it is asked whether it is still there, or cut off since it has not answered */
	NOTICE_UNKNOWN, /* it is cut off, as it has not said who it is */
};

struct door {
	const char *name;
	size_t state; /* bytes that it wants for each client, all zero at first */
	bool formats; /* its messages are values, in the endpoint's format */
	bool framed;  /* its bytes come and go as messages of the endpoint's frame */

	/* A client has come. May be NULL. */
	void (*open)(struct client *client, void *state);
	/* Bytes have come; framed: one message. After hub_end() nothing more comes. Not framed: no bytes (NULL), after
	 * hub_must_wait(): it goes on with what it has kept. */
	void (*input)(struct client *client, void *state, const unsigned char *data, size_t len);
	/* A message is for one of the client's subscriptions, which was given this name. */
	void (*deliver)(struct client *client, void *state, struct span sid, const struct message *message);
	/* A subscription ends, as its user must not have it any more: users were read again. May be NULL. */
	void (*denied)(struct client *client, void *state, struct span sid, struct span pattern);
	/* Returns false for NOTICE_SILENT, if the client is to be cut off. */
	bool (*notice)(struct client *client, void *state, enum notice notice);
	/* The client has gone: frees what its state holds. May be NULL. */
	void (*close)(struct client *client, void *state);
	/* This thread ends: frees what the door has kept for it. May be NULL. */
	void (*forget)(void);
};

extern const struct door nats_door, json_door, sse_door;

/* ---- the verbs ---- */

/*
 * Publishes. Returns how many subscribers got it (one of each queue group; those on other threads are counted too);
 * -EACCES: the client may not; -EBADMSG: the payload is not what the topic's format allows; -ENOMEM. A topic that is
 * not valid has no subscribers.
 */
int hub_publish(struct client *client, struct message *message);

/* What a new subscription wants: of earlier messages, where they stay (--topic), and how many at most. */
struct wanted {
	uint32_t max;    /* messages in all, earlier ones not counted; 0: no end */
	unsigned newest; /* so many of each topic */
	bool resumes;    /* or: all behind an offset */
	bool foreign;    /* that another hub has told: all, and there is a gap */
	uint64_t since;
};

#define SUBSCRIBE_MAX 16 /* at once */

/* A subscription that is asked for, and its name. */
struct asked {
	struct span pattern, sid;
	int err;                  /* as hub_subscribe() returns it */
	struct subscription *sub; /* the hub's */
};

/*
 * The same as hub_subscribe() for several with one group: what is wanted of earlier messages is delivered once and in
 * order, whichever of the patterns it fits, under the first name. Returns 1: something behind `since` is not there any
 * more; 0.
 */
int hub_subscribe_all(struct client *client, struct asked *asked, int count, struct span group,
		      const struct wanted *wanted);

/*
 * Subscribes under a name, by which deliver() and hub_unsubscribe() know it. A name that is there already keeps its
 * pattern. `group` of length 0: none. `wanted` NULL: nothing; otherwise it is delivered during the call. Returns 0; 1:
 * something behind `since` is not there any more; -EINVAL: no valid pattern, or
 * name of a group (a word without white space); -EACCES; -E2BIG: too many; -ENOMEM.
 */
int hub_subscribe(struct client *client, struct span pattern, struct span group, struct span sid,
		  const struct wanted *wanted);

/* Unsubscribes: at once, or after `max` deliveries, counted from the beginning. 0: at once. */
void hub_unsubscribe(struct client *client, struct span sid, uint32_t max);

/* The name of one of the client's own subscriptions that takes this topic. False: there is none. */
bool hub_find(struct client *client, struct span topic, struct span *sid);

/* Who a client says it is. Missing: data NULL. */
struct login {
	struct span user, password, token, nkey, signature;
};

/*
 * Returns 0; -EACCES; -EUSERS: the user has too many connections; -EINPROGRESS: it is being checked, the door does
 * nothing more, and the same message is read once more when that is known. A door that reads bytes keeps it, as
 * hub_must_wait() tells. Where the hub knows no users, everybody is let in.
 */
int hub_login(struct client *client, const struct login *login);
/* Whether the client may do anything yet. */
bool hub_is_known(const struct client *client);

/* Whether TLS begins behind what the door says in open(); wanted: or has begun before. */
enum hub_tls { HUB_TLS_NONE, HUB_TLS_OFFERED, HUB_TLS_WANTED };
enum hub_tls hub_tls(const struct client *client);

/* What a client signs to show that it has a key; NULL: nobody does so here. */
const char *hub_nonce(struct client *client);
/* The longest message of this client, headers included. */
uint32_t hub_payload_max(const struct client *client);

/* The format of the client's endpoint; a topic that nobody else knows, for replies. Both live as long as the client. */
const char *hub_format(const struct client *client);
const char *hub_inbox(struct client *client);

/* A client's own messages come back to its own subscriptions, unless it says no. */
void hub_set_echo(struct client *client, bool echo);
/* How the client calls itself: copied, for events. */
void hub_set_name(struct client *client, struct span name);

/* Room for `len` bytes that go to the client: to be written at once. NULL: use hub_write(). For doors without frames.
 */
unsigned char *hub_room(struct client *client, size_t len);
/* Sends bytes to the client; framed: one message. */
void hub_write(struct client *client, const struct iovec *iov, int count);
/* Sends what many get, behind what was written; framed: one message. */
void hub_write_shared(struct client *client, struct tn_shared *shared);
/* The same as hub_write() for answers to the client itself, which wait behind the messages that wait. */
void hub_answer(struct client *client, const void *data, size_t len);

/*
 * Whether the hub takes nothing more from the client for now. A door that reads bytes asks before each verb, keeps what
 * is left, and is called with no bytes when it may go on. Of framed ones the next message comes later by itself.
 */
bool hub_must_wait(const struct client *client);

/* Ends the connection when what was written has been sent. */
void hub_end(struct client *client);

/* What a door may want to tell a client of the hub. */
struct hub_facts {
	char id[57];           /* letters and digits */
	char name[64];         /* of letters, digits, '-', '_' and '.' */
	uint32_t payload;      /* a message may have so many bytes, headers included */
	bool asks;             /* who a client is */
	_Atomic(bool) leaving; /* the hub ends soon */
	bool keeps;            /* messages of some topics: --topic */
};
const struct hub_facts *hub_facts(void);

/* Where the hub is reached, and the client comes from, without a port; the connection's number. */
struct client_facts {
	char host[64], from[64];
	int port;
	uint64_t id;
};
void hub_client_facts(const struct client *client, struct client_facts *facts);

#endif
