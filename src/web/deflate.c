#include "web/deflate.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

/* ---- what is agreed upon ---- */

/* The next part of the item, between semicolons: its name and value. False: that was all. */
static bool next_param(const char **p, const char *end, struct tni_http_text *name, struct tni_http_text *value)
{
	const char *stop, *equals;

	if (*p >= end)
		return false;
	stop = memchr(*p, ';', (size_t)(end - *p));
	stop = stop ? stop : end;
	equals = memchr(*p, '=', (size_t)(stop - *p));
	*name = (struct tni_http_text){*p, (size_t)((equals ? equals : stop) - *p)};
	*value = equals ? (struct tni_http_text){equals + 1, (size_t)(stop - equals - 1)} : (struct tni_http_text){0};
	tni_http_trim(name);
	tni_http_trim(value);
	*p = stop + 1;
	return true;
}

/* 8 to 15, perhaps in quotation marks; 0: it is none of these. */
static int read_bits(struct tni_http_text value)
{
	if (value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"')
		value = (struct tni_http_text){value.at + 1, value.len - 2};
	if (value.len == 1 && (value.at[0] == '8' || value.at[0] == '9'))
		return value.at[0] - '0';
	if (value.len == 2 && value.at[0] == '1' && value.at[1] >= '0' && value.at[1] <= '5')
		return 10 + value.at[1] - '0';
	return 0;
}

static int wrong(const struct tni_http_text *name)
{
	return tni_err(TN_EFORMAT, "permessage-deflate: the parameter '%.*s' is wrong here",
		       (int)(name->len < 40 ? name->len : 40), name->at);
}

int tni_deflate_read(const struct tni_http_text *item, bool offer, struct tni_deflate_params *params)
{
	const char *p = item->at, *end = item->at + item->len;
	struct tni_http_text name, value;

	*params = (struct tni_deflate_params){0};
	if (!next_param(&p, end, &name, &value) || !tni_http_is(&name, "permessage-deflate") || value.at)
		return 0;
	while (next_param(&p, end, &name, &value)) {
		bool server = tni_http_is(&name, "server_no_context_takeover");
		bool *fresh = server ? &params->server_fresh : &params->client_fresh;
		bool server_bits = tni_http_is(&name, "server_max_window_bits");
		int *bits = server_bits ? &params->server_bits : &params->client_bits;

		if (server || tni_http_is(&name, "client_no_context_takeover")) {
			if (*fresh || value.at)
				return wrong(&name);
			*fresh = true;
		} else if (server_bits || tni_http_is(&name, "client_max_window_bits")) {
			/* An offer may say without a number that the client can be told one (RFC 7692 7.1.2.2). */
			bool bare = offer && !server_bits && !value.at;

			if (*bits || (!server_bits && params->client_bits_known))
				return wrong(&name);
			*bits = bare ? 0 : read_bits(value);
			if (!*bits && !bare)
				return wrong(&name);
			params->client_bits_known |= !server_bits;
		} else {
			return wrong(&name);
		}
	}
	return 1;
}

void tni_deflate_write(const struct tni_deflate_params *params, bool offer, char out[TNI_DEFLATE_PARAMS])
{
	size_t n = (size_t)snprintf(out, TNI_DEFLATE_PARAMS, "permessage-deflate%s%s",
				    params->server_fresh ? "; server_no_context_takeover" : "",
				    params->client_fresh ? "; client_no_context_takeover" : "");

	if (params->server_bits)
		n += (size_t)snprintf(out + n, TNI_DEFLATE_PARAMS - n, "; server_max_window_bits=%d",
				      params->server_bits);
	if (params->client_bits)
		snprintf(out + n, TNI_DEFLATE_PARAMS - n, "; client_max_window_bits=%d", params->client_bits);
	else if (offer && params->client_bits_known)
		snprintf(out + n, TNI_DEFLATE_PARAMS - n, "; client_max_window_bits");
}

static int narrower(int a, int b)
{
	return a && (!b || a < b) ? a : b;
}

void tni_deflate_accept(const struct tni_deflate_params *offer, const struct tni_deflate_params *own,
			struct tni_deflate_params *answer)
{
	*answer = (struct tni_deflate_params){
		.server_fresh = offer->server_fresh || own->server_fresh,
		.client_fresh = offer->client_fresh || own->client_fresh,
		.server_bits = narrower(offer->server_bits, own->server_bits),
		.client_bits = offer->client_bits_known ? narrower(offer->client_bits, own->client_bits) : 0,
	};
}

bool tni_deflate_fits(const struct tni_deflate_params *offer, const struct tni_deflate_params *answer)
{
	return (answer->server_fresh || !offer->server_fresh) &&
	       (!offer->server_bits || (answer->server_bits && answer->server_bits <= offer->server_bits)) &&
	       (!answer->client_bits || offer->client_bits_known) &&
	       (!answer->client_bits || !offer->client_bits || answer->client_bits <= offer->client_bits);
}
