/*
 * A client on libnats, for test_hub.py: nats_client URL. It subscribes to wildcards and with a queue group, asks and
 * answers with headers, asks where nobody is, unsubscribes after some, and publishes many; each step prints a line.
 *
 * For test_hub_cluster.py: nats_client URL,... give publishes numbers to "control", 200 a second, until SIGTERM, and
 * prints the last; take prints each that comes, and when.
 */
#include <nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MUST(call) must((call), #call)

static void must(natsStatus status, const char *what)
{
	if (status == NATS_OK)
		return;
	printf("%s: %s\n", what, natsStatus_GetText(status));
	exit(1);
}

static void on_request(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *arg)
{
	natsMsg *reply;
	const char *value = "";

	(void)sub;
	(void)arg;
	natsMsgHeader_Get(msg, "Question", &value);
	MUST(natsMsg_Create(&reply, natsMsg_GetReply(msg), NULL, natsMsg_GetData(msg), natsMsg_GetDataLength(msg)));
	MUST(natsMsgHeader_Set(reply, "Answer", value));
	MUST(natsConnection_PublishMsg(nc, reply));
	natsMsg_Destroy(reply);
	natsMsg_Destroy(msg);
}

static int count(natsSubscription *sub, int timeout_ms)
{
	natsMsg *msg;
	int n = 0;

	while (natsSubscription_NextMsg(&msg, sub, timeout_ms) == NATS_OK) {
		natsMsg_Destroy(msg);
		n++;
	}
	return n;
}

static volatile sig_atomic_t over;

static void on_signal(int number)
{
	(void)number;
	over = 1;
}

static natsConnection *join(const char *urls)
{
	natsConnection *nc;
	natsOptions *options;
	const char *servers[8];
	char *copy = strdup(urls);
	int count = 0;

	for (char *url = strtok(copy, ","); url && count < 8; url = strtok(NULL, ","))
		servers[count++] = url;
	MUST(natsOptions_Create(&options));
	MUST(natsOptions_SetServers(options, servers, count));
	MUST(natsOptions_SetMaxReconnect(options, -1));
	MUST(natsOptions_SetReconnectWait(options, 100));
	MUST(natsOptions_SetPingInterval(options, 1000));
	MUST(natsConnection_Connect(&nc, options));
	natsOptions_Destroy(options);
	free(copy);
	return nc;
}

static int give(const char *urls)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	natsConnection *nc = join(urls);
	char text[32];
	long number = 0;

	while (!over) {
		snprintf(text, sizeof(text), "%ld", ++number);
		natsConnection_PublishString(nc, "control", text);
		nanosleep(&pause, NULL);
	}
	natsConnection_FlushTimeout(nc, 500);
	printf("%ld\n", number);
	return 0;
}

static int take(const char *urls)
{
	natsConnection *nc = join(urls);
	natsSubscription *sub;
	struct timespec now;
	natsMsg *msg;

	MUST(natsConnection_SubscribeSync(&sub, nc, "control"));
	while (!over) {
		if (natsSubscription_NextMsg(&msg, sub, 100) != NATS_OK)
			continue;
		clock_gettime(CLOCK_MONOTONIC, &now);
		printf("%.*s %ld.%03ld\n", natsMsg_GetDataLength(msg), natsMsg_GetData(msg), (long)now.tv_sec,
		       now.tv_nsec / 1000000);
		natsMsg_Destroy(msg);
	}
	return 0;
}

int main(int argc, char **argv)
{
	natsConnection *nc;
	natsSubscription *any, *one, *two, *service, *few;
	natsMsg *question, *answer = NULL;
	const char *value = "";
	natsStatus status;

	signal(SIGTERM, on_signal);
	if (argc > 2)
		return strcmp(argv[2], "give") == 0 ? give(argv[1]) : take(argv[1]);
	MUST(natsConnection_ConnectTo(&nc, argc > 1 ? argv[1] : "nats://localhost:4222"));
	MUST(natsConnection_SubscribeSync(&any, nc, "sensors.*.temp"));
	MUST(natsConnection_QueueSubscribeSync(&one, nc, "sensors.>", "workers"));
	MUST(natsConnection_QueueSubscribeSync(&two, nc, "sensors.>", "workers"));
	for (int i = 0; i < 1000; i++)
		MUST(natsConnection_PublishString(nc, i % 2 ? "sensors.a.temp" : "sensors.b.c.temp", "21.5"));
	MUST(natsConnection_FlushTimeout(nc, 10000));
	printf("wildcard %d\n", count(any, 500));
	printf("group %d\n", count(one, 500) + count(two, 500));

	MUST(natsConnection_Subscribe(&service, nc, "service", on_request, NULL));
	MUST(natsMsg_Create(&question, "service", NULL, "hello", 5));
	MUST(natsMsgHeader_Set(question, "Question", "why"));
	MUST(natsConnection_RequestMsg(&answer, nc, question, 10000));
	MUST(natsMsgHeader_Get(answer, "Answer", &value));
	printf("answer %.*s %s\n", natsMsg_GetDataLength(answer), natsMsg_GetData(answer), value);
	natsMsg_Destroy(answer);
	natsMsg_Destroy(question);

	status = natsConnection_RequestString(&answer, nc, "nobody", "?", 10000);
	printf("nobody: %s\n", natsStatus_GetText(status));
	jsCtx *js = NULL;
	jsErrCode code = 0;
	jsStreamInfo *info = NULL;
	MUST(natsConnection_JetStream(&js, nc, NULL));
	status = js_GetStreamInfo(&info, js, "stream", NULL, &code);
	printf("jetstream: %s\n", natsStatus_GetText(status));
	jsCtx_Destroy(js);

	MUST(natsConnection_SubscribeSync(&few, nc, "few"));
	MUST(natsSubscription_AutoUnsubscribe(few, 3));
	for (int i = 0; i < 10; i++)
		MUST(natsConnection_PublishString(nc, "few", "x"));
	MUST(natsConnection_FlushTimeout(nc, 10000));
	printf("few %d\n", count(few, 500));

	natsSubscription_Destroy(any);
	natsSubscription_Destroy(one);
	natsSubscription_Destroy(two);
	natsSubscription_Destroy(service);
	natsSubscription_Destroy(few);
	natsConnection_Destroy(nc);
	nats_Close();
	return 0;
}
