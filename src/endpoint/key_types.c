/* The types of the values of tenon's own keys: how each is read and written. */
#include "endpoint/keys.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/units.h"
#include "endpoint/access.h"
#include "endpoint/via.h"
#include "endpoint/web.h"
#include "proxy/header.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of key proxy-tlv; a header has room for 2048 bytes. */
#define TNI_TLV_TEXT_MAX 1000

/* ---- numbers ---- */

/* One that is a number, but too small or too large. */
static int fail_limits(const struct tni_parse *p, const struct tni_url_param *param, const char *low, const char *high)
{
	char why[256];

	snprintf(why, sizeof(why), "'%.64s' is out of range (%s to %s)", param->value, low, high);
	return tni_parse_fail_value(p, param, why);
}

static bool is_outside(int rc, uint64_t value, const struct tni_key *key)
{
	return rc == -ERANGE || (rc == 0 && (value < key->min || value > key->max));
}

static int parse_size(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	char low[32], high[32];
	uint64_t value = 0;
	int rc = tn_parse_size(param->value, &value);

	if (is_outside(rc, value, key))
		return fail_limits(p, param, tni_format_size(key->min, low, sizeof(low)),
				   tni_format_size(key->max, high, sizeof(high)));
	if (rc < 0)
		return tni_key_fail_value(p, param, key);
	*(uint32_t *)field = (uint32_t)value;
	return 0;
}

#ifdef TNI_HAVE_SHM

/* Indices are cut to it by a mask. */
static int parse_ring(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	uint32_t asked = 0, size = (uint32_t)key->min;
	int rc = parse_size(p, param, key, &asked);

	while (rc == 0 && size < asked)
		size *= 2;
	*(uint32_t *)field = size;
	return rc;
}

#endif

static int write_size(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep;
	tni_format_size(*(const uint32_t *)field, out, cap);
	return 0;
}

static int parse_count(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	char low[32], high[32];
	uint64_t value = 0;
	int rc = tn_parse_size(param->value, &value);

	snprintf(high, sizeof(high), "%llu", (unsigned long long)key->max);
	if (is_outside(rc, value, key))
		return fail_limits(p, param, tni_format_size(key->min, low, sizeof(low)), high);
	if (rc < 0)
		return tni_key_fail_value(p, param, key);
	*(int *)field = (int)value;
	return 0;
}

static int write_count(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep;
	return snprintf(out, cap, "%d", *(const int *)field);
}

static int parse_duration(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			  void *field)
{
	char low[32], high[32];
	uint64_t value = 0;
	int rc = tn_parse_duration(param->value, &value);

	if (is_outside(rc, value, key))
		return fail_limits(p, param, tni_format_duration(key->min, low, sizeof(low)),
				   tni_format_duration(key->max, high, sizeof(high)));
	if (rc < 0)
		return tni_key_fail_value(p, param, key);
	*(uint64_t *)field = value;
	return 0;
}

static int write_duration(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep;
	tni_format_duration(*(const uint64_t *)field, out, cap);
	return 0;
}

#ifdef TNI_HAVE_RECONNECT

#define PAUSE_MOST_NS (30 * TNI_NS_PER_S)

/* A duration that ends before `end`, or with the value. 0 or < 0. */
static int duration_until(const char *text, const char *end, const struct tni_key *key, uint64_t *ns)
{
	char word[32];
	int rc;

	if (!end)
		end = text + strlen(text);
	if (end - text >= (long)sizeof(word))
		return -EINVAL;
	snprintf(word, sizeof(word), "%.*s", (int)(end - text), text);
	rc = tn_parse_duration(word, ns);
	return is_outside(rc, *ns, key) ? -ERANGE : rc;
}

/* FROM-TO, or FROM: up to 30 s, or as it is where that is longer. */
static int parse_pause(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	const char *dash = strchr(param->value, '-');
	uint64_t least = 0, most = 0;
	int rc = duration_until(param->value, dash, key, &least);

	if (rc == 0 && dash)
		rc = duration_until(dash + 1, NULL, key, &most);
	else
		most = least > PAUSE_MOST_NS ? least : PAUSE_MOST_NS;
	if (rc < 0)
		return tni_key_fail_value(p, param, key);
	if (most < least)
		return tni_parse_fail_value(p, param, "the second duration is shorter than the first");
	*(uint64_t *)field = least;
	p->ep->access->again_most_ns = most;
	return 0;
}

static int write_pause(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	char least[32], most[32];

	if (!*(const uint64_t *)field)
		return -EOPNOTSUPP;
	return snprintf(out, cap, "%s-%s", tni_format_duration(*(const uint64_t *)field, least, sizeof(least)),
			tni_format_duration(ep->access->again_most_ns, most, sizeof(most)));
}

static int parse_heartbeat(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			   void *field)
{
	const char *colon = strchr(param->value, ':'), *text = colon ? colon + 1 : "";
	struct tni_heartbeat_spec *spec;
	uint64_t every = 0;

	if (duration_until(param->value, colon, key, &every) < 0)
		return tni_key_fail_value(p, param, key);
	spec = calloc(1, sizeof(*spec) + strlen(text) + 1);
	if (!spec)
		return tni_parse_no_memory();
	spec->every_ns = every;
	spec->len = strlen(text);
	memcpy(spec->text, text, spec->len);
	*(struct tni_heartbeat_spec **)field = spec;
	return 0;
}

static int write_heartbeat(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	const struct tni_heartbeat_spec *spec = tni_endpoint_heartbeat(ep);
	char every[32];

	(void)field;
	if (!spec)
		return -EOPNOTSUPP;
	return snprintf(out, cap, "%s%s%s", tni_format_duration(spec->every_ns, every, sizeof(every)),
			spec->len ? ":" : "", spec->text);
}

const struct tni_key_type tni_key_pause = {.parse = parse_pause, .write = write_pause};
const struct tni_key_type tni_key_heartbeat = {.parse = parse_heartbeat, .write = write_heartbeat};

#endif

static int parse_spin(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	if (strcmp(param->value, "auto") != 0)
		return parse_duration(p, param, key, field);
	*(uint64_t *)field = TNI_NEVER;
	return 0;
}

static int write_spin(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	if (*(const uint64_t *)field != TNI_NEVER)
		return write_duration(ep, field, out, cap);
	return snprintf(out, cap, "auto");
}

const struct tni_key_type tni_key_size = {.parse = parse_size, .write = write_size};
#ifdef TNI_HAVE_SHM
const struct tni_key_type tni_key_ring = {.parse = parse_ring, .write = write_size};
#endif
const struct tni_key_type tni_key_count = {.parse = parse_count, .write = write_count};
const struct tni_key_type tni_key_duration = {.parse = parse_duration, .write = write_duration};
const struct tni_key_type tni_key_spin = {.parse = parse_spin, .write = write_spin};

/* ---- words and text ---- */

static int parse_switch(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			void *field)
{
	int on = tni_parse_switch(param->value);

	*(bool *)field = on > 0;
	return on < 0 ? tni_key_fail_value(p, param, key) : 0;
}

static int write_switch(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep;
	return snprintf(out, cap, "%s", *(const bool *)field ? "on" : "off");
}

static int parse_text(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	char **text = field;

	(void)key;
	if (!*param->value)
		return tni_parse_fail_value(p, param, "it is empty");
	free(*text);
	*text = strdup(param->value);
	return *text ? 0 : tni_parse_no_memory();
}

static int write_text(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	const char *text = *(char *const *)field;

	(void)ep;
	return snprintf(out, cap, "%s", text ? text : "");
}

const struct tni_key_type tni_key_switch = {.parse = parse_switch, .write = write_switch};
const struct tni_key_type tni_key_text = {.parse = parse_text, .write = write_text};

/* ---- messages ---- */

static int parse_frame(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	char why[400];
	int rc;

	(void)key;
	if (p->ep->scheme->type == SOCK_SEQPACKET || p->ep->scheme->web)
		return tni_parse_fail_key(p, param,
					  p->ep->scheme->web
						  ? "cannot apply: WebSocket and HTTP keep messages whole by themselves"
						  : "cannot apply: this socket keeps messages whole by itself");
	rc = tni_frame_find(param->value, field);
	if (rc != TN_EURL)
		return rc;
	snprintf(why, sizeof(why), "%s", tn_errmsg());
	return tni_parse_fail_key_at(p, param, tni_parse_byte_of(p, param, tn_errpos()), why);
}

static int write_frame(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)field;
	return snprintf(out, cap, "%s", ep->frame.ops->name);
}

static int parse_format(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			void *field)
{
	const struct tni_codec **codec = field;

	*codec = tni_codec_find(param->value);
	if (!*codec && tni_codec_left_out(param->value))
		return tni_parse_fail_value(p, param, tni_codec_left_out(param->value));
	if (!*codec)
		return tni_key_fail_value(p, param, key);
	if (*codec == &tni_codec_raw)
		*codec = NULL;
	return 0;
}

static int write_format(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)field;
	return snprintf(out, cap, "%s", ep->codec ? ep->codec->name : tni_codec_raw.name);
}

static int parse_bad(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		     void *field)
{
	bool skip = !strcmp(param->value, "skip");

	if (!skip && strcmp(param->value, "close") != 0)
		return tni_key_fail_value(p, param, key);
	*(enum tni_bad *)field = skip ? TNI_BAD_SKIP : TNI_BAD_CLOSE;
	return 0;
}

static int write_bad(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)field;
	return snprintf(out, cap, "%s", ep->bad == TNI_BAD_SKIP ? "skip" : "close");
}

const struct tni_key_type tni_key_frame = {.parse = parse_frame, .write = write_frame, .values = tni_frame_forms};
const struct tni_key_type tni_key_format = {.parse = parse_format, .write = write_format, .values = tni_codec_names};
const struct tni_key_type tni_key_bad = {.parse = parse_bad, .write = write_bad};

/* ---- TLS ---- */

static const char *const verify_words[] = {[TNI_VERIFY_OFF] = "off",
					   [TNI_VERIFY_OPTIONAL] = "optional",
					   [TNI_VERIFY_REQUIRE] = "require",
					   [TNI_VERIFY_ON] = "on"};

static int parse_verify(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			void *field)
{
	for (int i = TNI_VERIFY_OFF; i <= TNI_VERIFY_ON; i++)
		if (!strcmp(verify_words[i], param->value) &&
		    (i == TNI_VERIFY_OFF || (i == TNI_VERIFY_ON) == (p->ep->role == TN_DIAL))) {
			*(int *)field = i;
			return 0;
		}
	return tni_key_fail_value(p, param, key);
}

static int write_verify(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	int verify = *(const int *)field;

	if (verify == TNI_VERIFY_DEFAULT)
		verify = ep->role == TN_DIAL ? TNI_VERIFY_ON : ep->tls->ca ? TNI_VERIFY_REQUIRE : TNI_VERIFY_OFF;
	return snprintf(out, cap, "%s", verify_words[verify]);
}

static int parse_tls_version(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			     void *field)
{
	bool is_13 = !strcmp(param->value, "1.3");

	if (is_13 && p->ep->tls->datagrams)
		return tni_parse_fail_value(p, param, "DTLS is spoken in version 1.2 only");
	if (!is_13 && strcmp(param->value, "1.2") != 0)
		return tni_key_fail_value(p, param, key);
	*(int *)field = is_13 ? 13 : 12;
	return 0;
}

static int write_tls_version(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	int version = *(const int *)field;

	if (!version)
		version = ep->tls->datagrams ? 12 : 13;
	return snprintf(out, cap, "1.%d", version - 10);
}

const struct tni_key_type tni_key_verify = {.parse = parse_verify, .write = write_verify};
const struct tni_key_type tni_key_tls_version = {.parse = parse_tls_version, .write = write_tls_version};

/* ---- WebSocket ---- */

static int parse_kind(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	bool text = !strcmp(param->value, "text");

	*(enum tni_web_kind *)field = text ? TNI_WEB_TEXT : TNI_WEB_BINARY;
	return text || !strcmp(param->value, "binary") ? 0 : tni_key_fail_value(p, param, key);
}

static int write_kind(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)field;
	return snprintf(out, cap, "%s", ep->web->config.text ? "text" : "binary");
}

const struct tni_key_type tni_key_kind = {.parse = parse_kind, .write = write_kind};

/* ---- proxies ---- */

#ifdef TNI_HAVE_PROXY

static int parse_via(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		     void *field)
{
	(void)key;
	return tni_via_parse(p, param, field);
}

static int write_via(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	const struct tni_via_spec *via = *(struct tni_via_spec *const *)field;

	(void)ep;
	return via ? snprintf(out, cap, "%s", via->text) : -EOPNOTSUPP;
}

const struct tni_key_type tni_key_via = {.parse = parse_via, .write = write_via};

#endif

/* ---- below the transports ---- */

static int parse_protocol(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			  void *field)
{
	int protocol = tni_raw_protocol(tni_scheme_raw(p->ep->scheme), param->value);

	*(int *)field = protocol;
	return protocol < 0 ? tni_key_fail_value(p, param, key) : 0;
}

static int write_protocol(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	return snprintf(out, cap, ep->scheme->place == TNI_AT_LINK ? "0x%04x" : "%d", *(const int *)field);
}

static int parse_packet(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			void *field)
{
	bool frames = !strcmp(param->value, "raw");

	*(bool *)field = frames;
	return frames || !strcmp(param->value, "dgram") ? 0 : tni_key_fail_value(p, param, key);
}

static int write_packet(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep;
	return snprintf(out, cap, "%s", *(const bool *)field ? "raw" : "dgram");
}

const struct tni_key_type tni_key_protocol = {.parse = parse_protocol, .write = write_protocol};
const struct tni_key_type tni_key_packet = {.parse = parse_packet, .write = write_packet};

/* ---- options of the socket without a key, and its network ---- */

#ifdef TNI_HAVE_SOCKOPTS

/* That it is there was seen before: the whole URL is understood in that network. */
static int parse_netns(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	return parse_text(p, param, key, field);
}

static int write_netns(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	return *(char *const *)field ? write_text(ep, field, out, cap) : -EOPNOTSUPP;
}

const struct tni_key_type tni_key_netns = {.parse = parse_netns, .write = write_netns};

static int parse_setsockopt(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			    void *field)
{
	(void)key, (void)field;
	return tni_parse_sockopt(p, param, &tni_sockopt_any);
}

/* Nobody but its user knows what it means. */
static int write_nothing(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep, (void)field, (void)out, (void)cap;
	return -EOPNOTSUPP;
}

const struct tni_key_type tni_key_setsockopt = {.parse = parse_setsockopt, .write = write_nothing};

#endif

/* ---- the end that is dialled from ---- */

/* Digits, up to `end`. -1: other than a port. */
static int read_port(const char *text, const char *end)
{
	int port = 0;

	if (text == end || end - text > 5)
		return -1;
	for (; text < end; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		port = port * 10 + *text - '0';
	}
	return port <= 65535 ? port : -1;
}

/* PORT, or of a build with all options PORT-PORT. */
static int read_ports(const char *text, struct tni_bind *bind)
{
	const char *end = text + strlen(text);
#ifdef TNI_HAVE_SOCKOPTS
	const char *dash = strchr(text, '-');

	if (dash) {
		bind->port = read_port(text, dash);
		bind->last = read_port(dash + 1, end);
		return bind->port < 1 || bind->last < bind->port ? -EINVAL : 0;
	}
#endif
	bind->port = bind->last = read_port(text, end);
	return bind->port < 0 ? -EINVAL : 0;
}

/* ADDRESS, ADDRESS:PORT, [IPV6], [IPV6]:PORT, IPV6 or :PORT; a range for the port. 0, or -EINVAL. */
static int read_bind(const char *text, struct tni_bind *bind)
{
	const char *colon = strrchr(text, ':');
	char host[128];
	size_t len;

	if (*text == '[' ? text[strlen(text) - 1] == ']' : colon && strchr(text, ':') != colon)
		colon = NULL; /* those of an address */
	len = colon ? (size_t)(colon - text) : strlen(text);
	if (colon && read_ports(colon + 1, bind) < 0)
		return -EINVAL;
	if (*text == '[') {
		if (len < 2 || text[len - 1] != ']')
			return -EINVAL;
		text++;
		len -= 2;
	}
	if (len >= sizeof(host) || (!len && !colon))
		return -EINVAL;
	snprintf(host, sizeof(host), "%.*s", (int)len, text);
	return len && tni_addr_literal(&bind->addr, host, bind->port) < 0 ? -EINVAL : 0;
}

#ifdef TNI_HAVE_SOCKOPTS
#define BIND_RANGE ", :5000-5099"
#else
#define BIND_RANGE ""
#endif

static int parse_bind(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	struct tni_bind bind = {0}, **kept = field;

	(void)key;
	if (read_bind(param->value, &bind) < 0)
		return tni_parse_fail_value(p, param,
					    "an address of this machine, a port or both are needed: 192.0.2.1, :5000, "
					    "[fd00::1]:5000" BIND_RANGE " (for an interface: bindtodevice)");
	if (!bind.port && tni_addr_family(&bind.addr) == AF_UNSPEC)
		return 0; /* :0 is the kernel's choice */
	bind.text = strdup(param->value);
	if (!*kept)
		*kept = calloc(1, sizeof(**kept));
	if (!bind.text || !*kept) {
		free(bind.text);
		return tni_parse_no_memory();
	}
	free((*kept)->text);
	**kept = bind;
	return 0;
}

static int write_bind(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)field;
	return snprintf(out, cap, "%s", ep->bind ? ep->bind->text : ":0");
}

const struct tni_key_type tni_key_bind = {.parse = parse_bind, .write = write_bind};

/* ---- who may connect, and who says so ---- */

static int write_cidrs(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	return *(char *const *)field ? write_text(ep, field, out, cap) : -EOPNOTSUPP;
}

#ifdef TNI_HAVE_ACCESS

/* Users and groups are known of connections of Unix sockets. */
static int check_owners(const struct tni_parse *p, const struct tni_url_param *param)
{
	const struct tni_scheme *scheme = p->ep->scheme;

	if (strcmp(param->key, "allow") != 0 && strcmp(param->key, "deny") != 0)
		return tni_parse_fail_value(p, param, "users and groups stand in allow and deny only");
	if (scheme->place == TNI_AT_HOST || scheme->place == TNI_AT_ADDR || scheme->kinds == TNI_SK_UNIX_DGRAM)
		return tni_parse_fail_value(p, param,
					    "users and groups are known of unix, unix-seqpacket and shm alone");
	return 0;
}

/* The addresses of a list; its files are read when it is served. */
static int parse_cidrs(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	struct tni_cidrs set = {0};
	int rc = 0;

	for (const char *item = param->value, *end = ","; rc == 0 && *end; item = end + 1) {
		end = item + strcspn(item, ",");
		if (!tni_access_is_file(item) && tni_cidrs_add(&set, item, (size_t)(end - item)) < 0)
			rc = tni_parse_fail_told(p, tni_parse_byte_of(p, param, item - param->value));
	}
	if (rc == 0 && set.nowners)
		rc = check_owners(p, param);
	tni_cidrs_free(&set);
	return rc == 0 ? parse_text(p, param, key, field) : rc;
}

#endif

static const char *const proxied_words[] = {
	[TNI_PROXIED_NOT] = "off", [TNI_PROXIED_ACCEPT] = "accept", [TNI_PROXIED_V1] = "v1", [TNI_PROXIED_V2] = "v2"};

static int parse_proxy(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	for (int i = TNI_PROXIED_NOT; i <= TNI_PROXIED_V2; i++) {
		if (strcmp(proxied_words[i], param->value) != 0)
			continue;
		*(uint8_t *)field = (uint8_t)i;
		if (i == TNI_PROXIED_NOT || (i == TNI_PROXIED_ACCEPT) == (p->ep->role == TN_SERVE))
			return 0;
		return tni_parse_fail_value(p, param, "served endpoints take accept, dialled ones v1 or v2");
	}
	return tni_key_fail_value(p, param, key);
}

static int write_proxy(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep;
	return snprintf(out, cap, "%s", proxied_words[*(const uint8_t *)field]);
}

/* 0xNN:text. The checksum, padding and what the library says of TLS are not one's own. */
static bool add_tlv(struct tni_tlv_spec *spec, const char *item, size_t len)
{
	unsigned char *out = spec->bytes + spec->len;
	char hex[3] = {0}, *end;
	unsigned long type;

	if (len < 5 || memcmp(item, "0x", 2) != 0 || item[4] != ':')
		return false;
	memcpy(hex, item + 2, 2);
	type = strtoul(hex, &end, 16);
	if (*end || hex[0] == '+' || hex[0] == '-' || hex[0] == ' ' || type == 0 || type == TN_PROXY_CRC32C ||
	    type == TN_PROXY_NOOP || type == TN_PROXY_SSL)
		return false;
	spec->len = (size_t)tni_proxy_put_tlv(out, 3 + len, 0, (unsigned)type, item + 5, len - 5) + spec->len;
	return true;
}

static int parse_tlvs(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	struct tni_tlv_spec **kept = field, *spec;
	size_t len;
	int rc = 0;

	if (strlen(param->value) > TNI_TLV_TEXT_MAX)
		return tni_parse_fail_value(p, param, "it is longer than 1000 bytes");
	spec = calloc(1, sizeof(*spec) + strlen(param->value) + 3);
	if (!spec)
		return tni_parse_no_memory();
	for (const char *item = param->value; rc == 0 && item; item = item[len] ? item + len + 1 : NULL) {
		len = strcspn(item, ",");
		if (len == 6 && !memcmp(item, "crc32c", len))
			spec->checksum = true;
		else if (len == 9 && !memcmp(item, "unique-id", len))
			spec->unique_id = true;
		else if (!add_tlv(spec, item, len))
			rc = tni_key_fail_value(p, param, key);
	}
	spec->text = rc == 0 ? strdup(param->value) : NULL;
	if (rc == 0 && !spec->text)
		rc = tni_parse_no_memory();
	if (rc < 0) {
		free(spec);
		return rc;
	}
	if (*kept)
		free((*kept)->text);
	free(*kept);
	*kept = spec;
	return 0;
}

static int write_tlvs(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	const struct tni_tlv_spec *spec = *(struct tni_tlv_spec *const *)field;

	(void)ep;
	return spec ? snprintf(out, cap, "%s", spec->text) : -EOPNOTSUPP;
}

#ifdef TNI_HAVE_ACCESS
const struct tni_key_type tni_key_cidrs = {.parse = parse_cidrs, .write = write_cidrs};
#endif
static int parse_ports(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	struct tni_ports ports;

	if (tni_ports_read(&ports, param->value) < 0)
		return tni_parse_fail_told(p, param->value_at);
	return parse_text(p, param, key, field);
}

const struct tni_key_type tni_key_ports = {.parse = parse_ports, .write = write_cidrs};
const struct tni_key_type tni_key_proxy = {.parse = parse_proxy, .write = write_proxy};
const struct tni_key_type tni_key_tlvs = {.parse = parse_tlvs, .write = write_tlvs};

/* ---- the file of a Unix socket ---- */

static int parse_mode(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	size_t len = strspn(param->value, "01234567");
	long mode = strtol(param->value, NULL, 8);

	if (len == 0 || len > 4 || param->value[len] || mode > (long)key->max)
		return tni_key_fail_value(p, param, key);
	*(int *)field = (int)mode;
	return 0;
}

static int write_mode(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	int mode = *(const int *)field;

	(void)ep;
	return mode < 0 ? -EOPNOTSUPP : snprintf(out, cap, "%o", (unsigned)mode);
}

/* A number needs no entry in the system's list. False: it is none. */
static bool is_id(const char *text, int *id)
{
	size_t len = strspn(text, "0123456789");
	unsigned long number = len > 0 && len <= 10 && !text[len] ? strtoul(text, NULL, 10) : UINT32_MAX;

	*id = (int)number;
	return number < UINT32_MAX;
}

static int parse_user(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      void *field)
{
	const struct passwd *user = getpwnam(param->value);

	(void)key;
	if (user)
		*(int *)field = (int)user->pw_uid;
	else if (!is_id(param->value, field))
		return tni_parse_fail_value(p, param, "no such user on this system");
	return 0;
}

static int parse_group(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		       void *field)
{
	const struct group *group = getgrnam(param->value);

	(void)key;
	if (group)
		*(int *)field = (int)group->gr_gid;
	else if (!is_id(param->value, field))
		return tni_parse_fail_value(p, param, "no such group on this system");
	return 0;
}

static int write_id(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	int id = *(const int *)field;

	(void)ep;
	return id == -1 ? -EOPNOTSUPP : snprintf(out, cap, "%u", (unsigned)id);
}

const struct tni_key_type tni_key_mode = {.parse = parse_mode, .write = write_mode};
const struct tni_key_type tni_key_user = {.parse = parse_user, .write = write_id};
const struct tni_key_type tni_key_group = {.parse = parse_group, .write = write_id};

/* ---- files and terminals ---- */

#ifdef TNI_HAVE_FILES

static int parse_word(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		      const char *const *words, unsigned *word)
{
	for (*word = 0; words[*word]; ++*word)
		if (!strcmp(param->value, words[*word]))
			return 0;
	return tni_key_fail_value(p, param, key);
}

/* In the order of their enums. */
static const char *const opened_words[] = {"read", "follow", "write", "append", NULL};
static const char *const parity_words[] = {"none", "even", "odd", "mark", "space", NULL};
static const char *const flow_words[] = {"none", "rtscts", "xonxoff", NULL};

#define WORDS(name, type)                                                                                \
	static int parse_##name(const struct tni_parse *p, const struct tni_url_param *param,            \
				const struct tni_key *key, void *field)                                  \
	{                                                                                                \
		unsigned word;                                                                           \
		int rc = parse_word(p, param, key, name##_words, &word);                                 \
                                                                                                         \
		if (rc == 0)                                                                             \
			*(type *)field = (type)word;                                                     \
		return rc;                                                                               \
	}                                                                                                \
                                                                                                         \
	static int write_##name(const struct tni_endpoint *ep, const void *field, char *out, size_t cap) \
	{                                                                                                \
		(void)ep;                                                                                \
		return snprintf(out, cap, "%s", name##_words[*(const type *)field]);                     \
	}                                                                                                \
                                                                                                         \
	const struct tni_key_type tni_key_##name = {.parse = parse_##name, .write = write_##name}

WORDS(opened, enum tni_opened);
WORDS(parity, enum tni_parity);
WORDS(flow, enum tni_flow);

/* A flag: its word and its bit stand in the row. */
static int parse_termios(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
			 void *field)
{
	struct tni_device_spec *spec = field;
	int on = tni_parse_switch(param->value);

	if (on < 0)
		return tni_key_fail_value(p, param, key);
	(on ? spec->set : spec->clear)[key->min] |= (uint32_t)key->max;
	return 0;
}

/* What is in force only the terminal knows. */
static int write_termios(const struct tni_endpoint *ep, const void *field, char *out, size_t cap)
{
	(void)ep, (void)field, (void)out, (void)cap;
	return -EOPNOTSUPP;
}

const struct tni_key_type tni_key_termios = {.parse = parse_termios, .write = write_termios};

#endif
