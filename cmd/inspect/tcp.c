/* struct tcp_info in words: tcp(7), TCP_INFO. The kernel's own header has more of it than the C library's. */
#include "tcp.h"

#include <string.h>

#include <linux/tcp.h>

#include "common/human.h"
#include "common/json.h"
#include "common/text.h"
#include "sock.h"

static struct tcp_info info_of(const struct sock *sock)
{
	struct tcp_info info = {0};

	memcpy(&info, sock->tcp_info, sock->tcp_info_len < sizeof(info) ? sock->tcp_info_len : sizeof(info));
	return info;
}

unsigned tcp_info_state(const struct sock *sock)
{
	return info_of(sock).tcpi_state;
}

bool tcp_figures_of(const struct sock *sock, struct tcp_figures *figures)
{
	struct tcp_info info = info_of(sock);

	if (!sock->tcp_info_len || sock->listening || !sock->peer.len)
		return false;
	*figures = (struct tcp_figures){.rtt_us = info.tcpi_rtt,
					.sent = (int64_t)info.tcpi_bytes_acked,
					.received = (int64_t)info.tcpi_bytes_received,
					.resent = (int64_t)info.tcpi_bytes_retrans};
	return true;
}

static const char *recovery_name(unsigned state)
{
	static const char *const names[] = {"open", "disorder", "cwr", "recovery", "loss"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* What a state of congestion control means; NULL: that all is well. */
static const char *recovery_meaning(unsigned state)
{
	static const char *const meanings[] = {NULL, "segments came out of order",
					       "slowing down: congestion was signalled", "sending again what was lost",
					       "a retransmission timed out"};

	return state < sizeof(meanings) / sizeof(meanings[0]) ? meanings[state] : NULL;
}

#define NONE_YET 0x7fffffff

/* ---- words ---- */

struct words {
	struct text *text;
	const char *indent;
	char a[32], b[32], c[32];
};

static void begin(struct words *w, const char *label)
{
	text_add(w->text, "\n%s%-9s ", w->indent, label);
}

static const char *bytes(double count, char out[32])
{
	return human_bytes(count, out, 32);
}

static const char *us(double count, char out[32])
{
	return human_us(count, out, 32);
}

static void path_words(struct words *w, const struct tcp_info *info)
{
	begin(w, "path");
	text_add(w->text, "rtt %s (varies by %s, ", us(info->tcpi_rtt, w->a), us(info->tcpi_rttvar, w->b));
	if (info->tcpi_min_rtt && info->tcpi_min_rtt != ~0U)
		text_add(w->text, "least %s, ", us(info->tcpi_min_rtt, w->a));
	text_add(w->text, "retransmission after %s), mtu %u, segments of %u sent and %u received",
		 us(info->tcpi_rto, w->a), info->tcpi_pmtu, info->tcpi_snd_mss, info->tcpi_rcv_mss);
}

static void window_words(struct words *w, const struct sock *sock, const struct tcp_info *info)
{
	const char *meaning = recovery_meaning(info->tcpi_ca_state);

	begin(w, "window");
	text_add(w->text, "%s, cwnd %u segments (%s)", sock->congestion[0] ? sock->congestion : "?",
		 info->tcpi_snd_cwnd, bytes((double)info->tcpi_snd_cwnd * info->tcpi_snd_mss, w->a));
	if (info->tcpi_snd_ssthresh < NONE_YET)
		text_add(w->text, ", slow start up to %u", info->tcpi_snd_ssthresh);
	else
		text_add(w->text, ", slow start");
	text_add(w->text, "; the peer takes %s, we take %s", bytes(info->tcpi_snd_wnd, w->a),
		 bytes(info->tcpi_rcv_space, w->b));
	if (meaning)
		text_add(w->text, "; %s: %s", recovery_name(info->tcpi_ca_state), meaning);
}

static void sent_words(struct words *w, const struct tcp_info *info)
{
	begin(w, "sent");
	text_add(w->text, "%s in %u segments, %s acknowledged; %u unacknowledged, %s not sent yet",
		 bytes((double)info->tcpi_bytes_sent, w->a), info->tcpi_segs_out,
		 bytes((double)info->tcpi_bytes_acked, w->b), info->tcpi_unacked,
		 bytes(info->tcpi_notsent_bytes, w->c));
	begin(w, "resent");
	text_add(w->text, "%u segments (%s) in all, %u of what is on its way; %u taken for lost, %u sent twice in vain",
		 info->tcpi_total_retrans, bytes((double)info->tcpi_bytes_retrans, w->a), info->tcpi_retrans,
		 info->tcpi_lost, info->tcpi_dsack_dups);
	if (info->tcpi_retransmits)
		text_add(w->text, "; %u timeouts in a row", info->tcpi_retransmits);
}

static void received_words(struct words *w, const struct tcp_info *info)
{
	begin(w, "received");
	text_add(w->text, "%s in %u segments, %u out of order; last data %s ago, sent %s ago",
		 bytes((double)info->tcpi_bytes_received, w->a), info->tcpi_segs_in, info->tcpi_rcv_ooopack,
		 us(info->tcpi_last_data_recv * 1e3, w->b), us(info->tcpi_last_data_sent * 1e3, w->c));
}

static void rate_words(struct words *w, const struct tcp_info *info)
{
	begin(w, "rate");
	text_add(w->text, "%s/s delivered%s, paced at ", bytes((double)info->tcpi_delivery_rate, w->a),
		 info->tcpi_delivery_rate_app_limited ? " (the program sent no more)" : "");
	if (info->tcpi_pacing_rate == ~0ULL)
		text_add(w->text, "any rate");
	else
		text_add(w->text, "%s/s", bytes((double)info->tcpi_pacing_rate, w->b));
	text_add(w->text, "; busy for %s", us((double)info->tcpi_busy_time, w->a));
	if (info->tcpi_rwnd_limited || info->tcpi_sndbuf_limited)
		text_add(w->text, ", of which %s held by the peer's window and %s by sndbuf",
			 us((double)info->tcpi_rwnd_limited, w->b), us((double)info->tcpi_sndbuf_limited, w->c));
}

static const struct {
	unsigned bit;
	const char *name;
} agreed[] = {
	{TCPI_OPT_TIMESTAMPS, "timestamps"},
	{TCPI_OPT_SACK, "sack"},
	{TCPI_OPT_ECN, "ecn"},
	{TCPI_OPT_SYN_DATA, "fastopen"},
};

#define NAGREED (sizeof(agreed) / sizeof(agreed[0]))

static void agreed_words(struct words *w, const struct tcp_info *info)
{
	begin(w, "agreed");
	for (size_t i = 0; i < NAGREED; i++)
		if (info->tcpi_options & agreed[i].bit)
			text_add(w->text, "%s, ", agreed[i].name);
	if (info->tcpi_options & TCPI_OPT_WSCALE)
		text_add(w->text, "window scale %u sent and %u received", info->tcpi_snd_wscale, info->tcpi_rcv_wscale);
	else
		text_add(w->text, "no window scale");
}

void tcp_info_words(const struct sock *sock, const char *indent, struct text *text)
{
	struct words w = {.text = text, .indent = indent};
	struct tcp_info info = info_of(sock);

	if (!sock->tcp_info_len || sock->listening || !sock->peer.len)
		return;
	path_words(&w, &info);
	window_words(&w, sock, &info);
	sent_words(&w, &info);
	received_words(&w, &info);
	rate_words(&w, &info);
	agreed_words(&w, &info);
}

/* ---- JSON ---- */

static void counts_json(const struct tcp_info *info, struct text *line)
{
	json_number(line, "bytes_sent", info->tcpi_bytes_sent);
	json_number(line, "bytes_acked", info->tcpi_bytes_acked);
	json_number(line, "bytes_received", info->tcpi_bytes_received);
	json_number(line, "bytes_retrans", info->tcpi_bytes_retrans);
	json_number(line, "segs_out", info->tcpi_segs_out);
	json_number(line, "segs_in", info->tcpi_segs_in);
	json_number(line, "retrans", info->tcpi_total_retrans);
	json_number(line, "lost", info->tcpi_lost);
	json_number(line, "unacked", info->tcpi_unacked);
	json_number(line, "notsent_bytes", info->tcpi_notsent_bytes);
	json_number(line, "dsack_dups", info->tcpi_dsack_dups);
	json_number(line, "out_of_order", info->tcpi_rcv_ooopack);
	json_number(line, "reordering_seen", info->tcpi_reord_seen);
	json_number(line, "delivery_rate", info->tcpi_delivery_rate);
	json_bool(line, "app_limited", info->tcpi_delivery_rate_app_limited);
	json_number(line, "busy_us", info->tcpi_busy_time);
	json_number(line, "rwnd_limited_us", info->tcpi_rwnd_limited);
	json_number(line, "sndbuf_limited_us", info->tcpi_sndbuf_limited);
	json_number(line, "last_data_sent_ms", info->tcpi_last_data_sent);
	json_number(line, "last_data_recv_ms", info->tcpi_last_data_recv);
}

void tcp_info_json(const struct sock *sock, struct text *line)
{
	struct tcp_info info = info_of(sock);

	if (!sock->tcp_info_len || sock->listening || !sock->peer.len)
		return;
	json_object(line, "tcp");
	json_number(line, "rtt_us", info.tcpi_rtt);
	json_number(line, "rttvar_us", info.tcpi_rttvar);
	if (info.tcpi_min_rtt != ~0U)
		json_number(line, "min_rtt_us", info.tcpi_min_rtt);
	json_number(line, "rto_us", info.tcpi_rto);
	json_number(line, "pmtu", info.tcpi_pmtu);
	json_number(line, "snd_mss", info.tcpi_snd_mss);
	json_number(line, "rcv_mss", info.tcpi_rcv_mss);
	json_text(line, "congestion", sock->congestion);
	json_text(line, "recovery", recovery_name(info.tcpi_ca_state));
	json_number(line, "cwnd", info.tcpi_snd_cwnd);
	if (info.tcpi_snd_ssthresh < NONE_YET)
		json_number(line, "ssthresh", info.tcpi_snd_ssthresh);
	json_number(line, "snd_wnd", info.tcpi_snd_wnd);
	json_number(line, "rcv_space", info.tcpi_rcv_space);
	counts_json(&info, line);
	json_list(line, "agreed");
	for (size_t i = 0; i < NAGREED; i++)
		if (info.tcpi_options & agreed[i].bit)
			json_text(line, NULL, agreed[i].name);
	if (info.tcpi_options & TCPI_OPT_WSCALE)
		json_text(line, NULL, "wscale");
	json_list_end(line);
	json_object_end(line);
}
