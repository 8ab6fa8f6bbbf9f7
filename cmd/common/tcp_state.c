#include "tcp_state.h"

const char *tcp_state_name(unsigned state)
{
	static const char *const names[] = {"",           "established", "syn-sent",     "syn-received", "fin-wait-1",
					    "fin-wait-2", "time-wait",   "closed",       "close-wait",   "last-ack",
					    "listening",  "closing",     "syn-received", "bound"};

	return state && state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
