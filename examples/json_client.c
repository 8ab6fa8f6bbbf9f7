/* Asks json_server for the sum of numbers: makes a JSON message, sends it, reads the reply.
 * Run: json_client URL NUMBER...     URL as tcp://localhost:10002?frame=line&format=json */
#include <stdio.h>
#include <stdlib.h>
#include <tenon_value.h>

/* Sends the request and reads {"sum": ...} from the reply. */
static int ask(const char *url, const struct tn_value *request, double *sum)
{
	struct tn_value *answer = NULL;
	struct tn_bytes json = {0};
	void *reply = NULL;
	size_t len;
	int err = tn_encode("json", request, 0, &json);

	if (err == 0)
		err = tn_call(NULL, url, json.data, json.len, &reply, &len, 5000);
	if (err == 0)
		err = tn_decode("json", reply, len, 0, &answer);
	if (err == 0)
		err = tn_value_float(tn_value_get(answer, "sum"), sum);
	tn_value_free(answer);
	tn_bytes_free(&json);
	free(reply);
	return err;
}

int main(int argc, char **argv)
{
	struct tn_value *request = tn_value_new_map(NULL), *list = tn_value_new_array(request);
	double sum;
	int err;

	for (int i = 2; i < argc; i++)
		tn_value_append(list, tn_value_new_float(list, atof(argv[i])));
	tn_value_put(request, "add", list);
	err = argc > 1 ? ask(argv[1], request, &sum) : -1;
	if (err == 0)
		printf("%g\n", sum);
	else
		fprintf(stderr, "%s\n", argc > 1 ? tn_errmsg() : "usage: json_client URL NUMBER...");
	tn_value_free(request);
	return err < 0;
}
