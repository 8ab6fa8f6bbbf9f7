/*
 * A client on libnats, for test_hub.py: nats_client URL. It subscribes to wildcards and with a queue group, asks and
 * answers with headers, asks where nobody is, unsubscribes after some, and publishes many; each step prints a line.
 */
#include <nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv)
{
	natsConnection *nc;
	natsSubscription *any, *one, *two, *service, *few;
	natsMsg *question, *answer = NULL;
	const char *value = "";
	natsStatus status;

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
