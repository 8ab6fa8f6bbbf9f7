/*
 * A load in the NATS client protocol, for any server of it: nats_load PORT TOPICS SUBSCRIBERS SIZE DURATION WARMUP
 *
 * Each topic has one publisher and so many subscribers, each a connection of its own. A publisher is at most WINDOW
 * bytes ahead of the slowest of its subscribers, so that no server has to drop anything. Prints one line of JSON:
 * deliveries a second, from the end of the warm-up on.
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

#define WINDOW (1 << 20) /* bytes of deliveries to one subscriber that may be on their way */
#define BATCH (32 << 10)

struct conn {
	int fd;
	struct topic *topic;
	uint64_t got; /* bytes of deliveries */
};

struct topic {
	struct conn publisher, *subs;
	char *batch; /* several messages, one behind the other */
	size_t message, per_batch, at;
	size_t delivery; /* bytes of one message as it is delivered */
	uint64_t sent;   /* messages */
};

static int epoll_fd;
static char buffer[256 << 10];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
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
		topic->subs[i] = (struct conn){.fd = join(port, text), .topic = topic};
		watch(&topic->subs[i], EPOLLIN);
	}
	topic->publisher = (struct conn){.fd = join(port, ""), .topic = topic};
	head = snprintf(text, sizeof(text), "PUB bench.t%d %zu\r\n", number, size);
	topic->message = (size_t)head + size + 2;
	topic->delivery = topic->message + 2; /* "MSG topic 1 size" */
	topic->per_batch = BATCH / topic->message ? BATCH / topic->message : 1;
	topic->batch = malloc(topic->per_batch * topic->message);
	for (size_t i = 0; i < topic->per_batch; i++) {
		char *at = topic->batch + i * topic->message;

		memcpy(at, text, (size_t)head);
		memset(at + head, 'x', size);
		memcpy(at + head + size, "\r\n", 2);
	}
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

int main(int argc, char **argv)
{
	struct rlimit limit;
	struct topic *topics;
	int ntopics, nsubs;
	double start, from, until;
	uint64_t total = 0, before = 0;

	if (argc != 7)
		return fprintf(stderr, "usage: nats_load PORT TOPICS SUBSCRIBERS SIZE DURATION WARMUP\n"), 2;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	ntopics = atoi(argv[2]);
	nsubs = atoi(argv[3]);
	epoll_fd = epoll_create1(0);
	topics = calloc((size_t)ntopics, sizeof(*topics));
	for (int i = 0; i < ntopics; i++)
		begin(&topics[i], atoi(argv[1]), i, nsubs, (size_t)atoi(argv[4]));
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
	printf("{\"rate\":%.1f,\"messages\":%llu,\"total\":%llu,\"errors\":0,\"lost\":0}\n",
	       (double)(total - before) / (until - from), (unsigned long long)(total - before),
	       (unsigned long long)total);
	return 0;
}
