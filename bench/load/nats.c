/*
 * A load in the NATS client protocol, for any server of it.
 *
 * nats_load PORT TOPICS SUBSCRIBERS SIZE DURATION WARMUP [DELIVERIES-A-SECOND]
 *	Each topic has one publisher and so many subscribers, each a connection of its own. A publisher is at most
 *	WINDOW bytes ahead of the slowest of its subscribers, so that no server has to drop anything. With a rate each
 *	publisher keeps to it, and a message carries the time at which it was due: what waits for its turn here counts.
 * nats_load PORT requests CLIENTS SIZE DURATION WARMUP
 *	So many clients ask, one request at a time each, and one connection answers.
 *
 * Prints one line of JSON: deliveries or replies a second from the end of the warm-up on, and of both latter how long
 * they took.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hist.h"

#define WINDOW (1 << 20) /* bytes of deliveries to one subscriber that may be on their way */
#define BATCH (32 << 10)

struct conn {
	int fd;
	struct topic *topic;
	uint64_t got; /* bytes of deliveries */
	char *part;   /* of a delivery that has come in part; only where times are taken */
	size_t have;
};

struct topic {
	struct conn publisher, *subs;
	char *batch; /* several messages, one behind the other */
	size_t message, per_batch, at;
	size_t delivery, head;     /* bytes of one message as it is delivered, and of them of its line */
	uint64_t sent;             /* messages */
	uint64_t due_ns, every_ns; /* the next one; 0: as many as go */
};

static struct hist took;
static uint64_t from_ns; /* the end of the warm-up */

static int epoll_fd;
static char buffer[256 << 10];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static double now(void)
{
	return (double)now_ns() / 1e9;
}

/* A payload begins with a time in letters. */
#define STAMP 20

static void stamp(char *payload, uint64_t ns)
{
	char text[STAMP + 1];

	snprintf(text, sizeof(text), "%0*llu", STAMP, (unsigned long long)ns);
	memcpy(payload, text, STAMP);
}

static void note(const char *payload)
{
	char text[STAMP + 1] = "";
	uint64_t sent_ns, at_ns = now_ns();

	memcpy(text, payload, STAMP);
	sent_ns = strtoull(text, NULL, 10);
	if (sent_ns >= from_ns)
		hist_add(&took, at_ns > sent_ns ? at_ns - sent_ns : 0);
}

/* Calls each() for every whole delivery, all of which are `whole` bytes long. */
static void take(struct conn *conn, const char *data, size_t len, size_t whole, void (*each)(struct conn *, char *))
{
	while (len) {
		size_t part = whole - conn->have < len ? whole - conn->have : len;

		memcpy(conn->part + conn->have, data, part);
		conn->have += part;
		data += part;
		len -= part;
		if (conn->have < whole)
			return;
		conn->have = 0;
		each(conn, conn->part);
	}
}

/* Connects, says this and PING, and waits for PONG. */
static int join(int port, const char *text)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	char line[512];
	size_t len = 0;
	ssize_t n;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	snprintf(line, sizeof(line), "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n%sPING\r\n", text);
	if (send(fd, line, strlen(line), 0) < 0)
		fail("send");
	do {
		n = recv(fd, buffer + len, sizeof(buffer) - 1 - len, 0);
		if (n <= 0)
			fail("recv");
		len += (size_t)n;
		buffer[len] = '\0';
	} while (!strstr(buffer, "PONG\r\n"));
	return fd;
}

static void watch(struct conn *conn, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) < 0)
		fail("epoll_ctl");
}

static void begin(struct topic *topic, int port, int number, int nsubs, size_t size)
{
	char text[128];
	int head;

	topic->subs = calloc((size_t)nsubs, sizeof(*topic->subs));
	snprintf(text, sizeof(text), "SUB bench.t%d 1\r\n", number);
	for (int i = 0; i < nsubs; i++) {
		topic->subs[i] = (struct conn){.fd = join(port, text), .topic = topic, .part = malloc(size + 256)};
		watch(&topic->subs[i], EPOLLIN);
	}
	topic->publisher = (struct conn){.fd = join(port, ""), .topic = topic};
	head = snprintf(text, sizeof(text), "PUB bench.t%d %zu\r\n", number, size);
	topic->message = (size_t)head + size + 2;
	topic->delivery = topic->message + 2; /* "MSG topic 1 size" */
	topic->head = (size_t)head + 2;
	topic->per_batch = BATCH / topic->message ? BATCH / topic->message : 1;
	topic->batch = malloc(topic->per_batch * topic->message);
	for (size_t i = 0; i < topic->per_batch; i++) {
		char *at = topic->batch + i * topic->message;

		memcpy(at, text, (size_t)head);
		memset(at + head, 'x', size);
		memcpy(at + head + size, "\r\n", 2);
	}
}

/* Those that are due, each with the time at which it was. */
static void publish_due(struct topic *topic)
{
	uint64_t now = now_ns();
	size_t n = 0, done = 0;

	for (; topic->due_ns <= now && n < topic->per_batch; n++, topic->due_ns += topic->every_ns)
		stamp(topic->batch + (n + 1) * topic->message - 2 - (topic->delivery - topic->head - 2), topic->due_ns);
	while (done < n * topic->message) {
		ssize_t len = send(topic->publisher.fd, topic->batch + done, n * topic->message - done, 0);

		if (len < 0)
			fail("send");
		done += (size_t)len;
	}
}

static void note_delivery(struct conn *conn, char *delivery)
{
	note(delivery + conn->topic->head);
}

/* As much as the window allows, and the socket takes. */
static void publish(struct topic *topic, int nsubs)
{
	uint64_t slowest = UINT64_MAX, ahead;
	size_t room, end;
	ssize_t n;

	for (int i = 0; i < nsubs; i++)
		slowest = topic->subs[i].got < slowest ? topic->subs[i].got : slowest;
	ahead = topic->sent * topic->delivery - slowest;
	if (ahead >= WINDOW)
		return;
	room = (WINDOW - (size_t)ahead) / topic->delivery * topic->message;
	end = topic->per_batch * topic->message;
	if (topic->at + room < end)
		end = topic->at + room;
	n = send(topic->publisher.fd, topic->batch + topic->at, end - topic->at, MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		fail("send");
	if (n <= 0)
		return;
	topic->sent += (topic->at + (size_t)n) / topic->message - topic->at / topic->message;
	topic->at = (topic->at + (size_t)n) % (topic->per_batch * topic->message);
}

/* ---- requests ---- */

static struct asker {
	struct conn conn;
	char request[4096 + 64];
	size_t head, len;
	uint64_t asked_ns, replies;
} * askers;

static struct conn responder;
static size_t reply_size;
static uint64_t replies;

static void send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, 0);

		if (n < 0)
			fail("send");
		data += n;
		len -= (size_t)n;
	}
}

static void ask(struct asker *asker)
{
	asker->asked_ns = now_ns();
	send_all(asker->conn.fd, asker->request, asker->len);
}

/* "MSG bench.svc 1 bench.in.0000 SIZE": the reply goes to the last but one word. */
static void answer(struct conn *conn, char *delivery)
{
	static char reply[4096 + 64];
	int head =
		snprintf(reply, sizeof(reply), "PUB %.13s %zu\r\n", delivery + strlen("MSG bench.svc 1 "), reply_size);

	memset(reply + head, 'y', reply_size);
	memcpy(reply + (size_t)head + reply_size, "\r\n", 2);
	send_all(conn->fd, reply, (size_t)head + reply_size + 2);
}

static void answered(struct conn *conn, char *delivery)
{
	struct asker *asker = (struct asker *)(void *)conn;

	(void)delivery;
	if (asker->asked_ns >= from_ns) {
		hist_add(&took, now_ns() - asker->asked_ns);
		replies++;
	}
	ask(asker);
}

static void result(double rate, uint64_t messages, uint64_t total)
{
	printf("{\"rate\":%.1f,\"messages\":%llu,\"total\":%llu,\"errors\":0,\"lost\":0", rate,
	       (unsigned long long)messages, (unsigned long long)total);
	if (took.count)
		printf(",\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f", (double)hist_quantile(&took, 0.5) / 1e3,
		       (double)hist_quantile(&took, 0.99) / 1e3, (double)took.max / 1e3);
	printf("}\n");
}

static void read_from(struct conn *conn, size_t whole, void (*each)(struct conn *, char *))
{
	ssize_t len = recv(conn->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (len == 0 || (len < 0 && errno != EAGAIN)) {
		fprintf(stderr, "the server has cut off a client\n");
		exit(1);
	}
	if (len > 0)
		take(conn, buffer, (size_t)len, whole, each);
}

static int requests(int port, int clients, size_t size, double duration, double warmup)
{
	size_t request, reply;
	char text[128];

	if (size > 4096 || clients > 9999)
		return fprintf(stderr, "at most 4096 bytes, and 9999 clients\n"), 2;
	reply_size = size;
	responder = (struct conn){.fd = join(port, "SUB bench.svc 1\r\n"), .part = malloc(size + 256)};
	watch(&responder, EPOLLIN);
	request = (size_t)snprintf(text, sizeof(text), "MSG bench.svc 1 bench.in.0000 %zu\r\n", size) + size + 2;
	reply = (size_t)snprintf(text, sizeof(text), "MSG bench.in.0000 1 %zu\r\n", size) + size + 2;
	askers = calloc((size_t)clients, sizeof(*askers));
	for (int i = 0; i < clients; i++) {
		struct asker *asker = &askers[i];

		snprintf(text, sizeof(text), "SUB bench.in.%04d 1\r\n", i);
		asker->conn = (struct conn){.fd = join(port, text), .part = malloc(size + 256)};
		asker->head = (size_t)snprintf(asker->request, sizeof(asker->request),
					       "PUB bench.svc bench.in.%04d %zu\r\n", i, size);
		memset(asker->request + asker->head, 'x', size);
		memcpy(asker->request + asker->head + size, "\r\n", 2);
		asker->len = asker->head + size + 2;
		watch(&asker->conn, EPOLLIN);
	}
	from_ns = now_ns() + (uint64_t)(warmup * 1e9);
	for (int i = 0; i < clients; i++)
		ask(&askers[i]);
	while (now_ns() < from_ns + (uint64_t)(duration * 1e9)) {
		struct epoll_event events[256];
		int n = epoll_wait(epoll_fd, events, 256, 100);

		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;

			read_from(conn, conn == &responder ? request : reply, conn == &responder ? answer : answered);
		}
	}
	result((double)replies / duration, replies, replies);
	return 0;
}

/* ---- deliveries ---- */

/* Each publisher at its share of the rate. */
static int paced(struct topic *topics, int ntopics, int nsubs, double duration, double warmup, double rate)
{
	uint64_t start = now_ns(), until;

	from_ns = start + (uint64_t)(warmup * 1e9);
	until = from_ns + (uint64_t)(duration * 1e9);
	for (int i = 0; i < ntopics; i++) {
		topics[i].every_ns = (uint64_t)(1e9 * nsubs * ntopics / rate);
		topics[i].due_ns = start + topics[i].every_ns * (uint64_t)i / (uint64_t)ntopics;
	}
	while (now_ns() < until) {
		struct epoll_event events[256];
		int n;

		for (int i = 0; i < ntopics; i++)
			publish_due(&topics[i]);
		n = epoll_wait(epoll_fd, events, 256, 0);
		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;

			read_from(conn, conn->topic->delivery, note_delivery);
		}
	}
	result((double)took.count / duration, took.count, took.count);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	struct topic *topics;
	int ntopics, nsubs;
	double start, from, until;
	uint64_t total = 0, before = 0;

	if (argc != 7 && argc != 8)
		return fprintf(stderr, "usage: nats_load PORT TOPICS|requests SUBSCRIBERS|CLIENTS SIZE DURATION WARMUP "
				       "[DELIVERIES-A-SECOND]\n"),
		       2;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	ntopics = atoi(argv[2]);
	nsubs = atoi(argv[3]);
	epoll_fd = epoll_create1(0);
	if (strcmp(argv[2], "requests") == 0)
		return requests(atoi(argv[1]), nsubs, (size_t)atoi(argv[4]), atof(argv[5]), atof(argv[6]));
	topics = calloc((size_t)ntopics, sizeof(*topics));
	for (int i = 0; i < ntopics; i++)
		begin(&topics[i], atoi(argv[1]), i, nsubs, (size_t)atoi(argv[4]));
	if (argc == 8)
		return paced(topics, ntopics, nsubs, atof(argv[5]), atof(argv[6]), atof(argv[7]));
	start = now();
	from = start + atof(argv[6]);
	until = from + atof(argv[5]);
	while (now() < until) {
		struct epoll_event events[256];
		int n = epoll_wait(epoll_fd, events, 256, 1);

		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;
			ssize_t len = recv(conn->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

			if (len == 0 || (len < 0 && errno != EAGAIN))
				return fprintf(stderr, "the server has cut off a subscriber\n"), 1;
			if (len > 0) {
				total -= conn->got / conn->topic->delivery;
				conn->got += (uint64_t)len;
				total += conn->got / conn->topic->delivery;
			}
		}
		if (now() < from)
			before = total;
		for (int i = 0; i < ntopics; i++)
			publish(&topics[i], nsubs);
	}
	result((double)(total - before) / (until - from), total - before, total);
	return 0;
}
