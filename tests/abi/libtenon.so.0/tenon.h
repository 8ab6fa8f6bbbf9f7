/* clang-format off */
#ifndef TENON_H
#define TENON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define TN_VERSION_MAJOR 0
#define TN_VERSION_MINOR 1
#define TN_VERSION_PATCH 0
#if defined(__GNUC__)
#define TN_API __attribute__((visibility("default")))
#define TN_MUST_CHECK __attribute__((warn_unused_result))
#else
#define TN_API
#define TN_MUST_CHECK
#endif
#ifdef TNI_LIBRARY
#define TN_SIZED
#else
#define TN_SIZED static inline
#endif
struct tn_loop;
struct tn_server;
struct tn_conn;
struct tn_timer;
struct tn_poll;
struct tn_handle;
struct tn_endpoint;
struct tn_signal;
struct sockaddr;
enum tn_err {
	TN_EFORMAT = -4001,
	TN_EDEPTH = -4002,
	TN_ETOOBIG = -4003,
	TN_EUTF8 = -4004,
	TN_ETRUNC = -4005,
	TN_EDUPKEY = -4006,
	TN_EREPR = -4007,
	TN_EURL = -4020,
	TN_ENAME = -4021,
	TN_ERESOLVE = -4022,
	TN_EIDLE = -4023,
	TN_EDRAIN = -4024,
	TN_ELIMIT = -4025,
	TN_EFULL = -4026,
	TN_ESTATE = -4027,
	TN_ETLS = -4028,
	TN_ECUT = -4029,
	TN_ECERT = -4030,
};
TN_API const char *tn_strerror(int err);
TN_API const char *tn_errmsg(void);
TN_API long tn_errpos(void);
TN_API TN_MUST_CHECK int tn_loop_new(struct tn_loop **loop, const char *engine);
TN_API TN_MUST_CHECK int tn_loop_run(struct tn_loop *loop);
TN_API int tn_loop_step(struct tn_loop *loop, int timeout_ms);
TN_API int tn_loop_step_until(struct tn_loop *loop, uint64_t until_ns);
TN_API uint64_t tn_loop_spun_ns(const struct tn_loop *loop);
TN_API void tn_loop_stop(struct tn_loop *loop);
TN_API TN_MUST_CHECK int tn_loop_post(struct tn_loop *loop, void (*fn)(void *arg), void *arg);
TN_API void tn_loop_free(struct tn_loop *loop);
TN_API const char *tn_loop_engine(const struct tn_loop *loop);
TN_API uint64_t tn_loop_now(const struct tn_loop *loop);
TN_API TN_MUST_CHECK int tn_timer_start(struct tn_loop *loop, uint64_t delay_ms, void (*fn)(void *arg), void *arg,
					struct tn_timer **timer);
TN_API TN_MUST_CHECK int tn_timer_repeat(struct tn_loop *loop, uint64_t delay_ns, uint64_t period_ns,
					 void (*fn)(void *arg), void *arg, struct tn_timer **timer);
TN_API void tn_timer_again(struct tn_timer *timer, uint64_t delay_ns, uint64_t period_ns);
TN_API void tn_timer_stop(struct tn_timer *timer);
TN_API TN_MUST_CHECK int tn_poll_start(struct tn_loop *loop, int fd, void (*fn)(void *arg), void *arg,
				       struct tn_poll **poll);
TN_API TN_MUST_CHECK int tn_poll_events(struct tn_loop *loop, int fd, int events, void (*fn)(int revents, void *arg),
					void *arg, struct tn_poll **poll);
TN_API TN_MUST_CHECK int tn_poll_change(struct tn_poll *poll, int events);
TN_API void tn_poll_stop(struct tn_poll *poll);
TN_API TN_MUST_CHECK int tn_signal_start(struct tn_loop *loop, int signo, void (*fn)(int signo, void *arg), void *arg,
					 struct tn_signal **sig);
TN_API void tn_signal_stop(struct tn_signal *sig);
TN_API void tn_timer_keep_loop(struct tn_timer *timer, bool keep);
TN_API void tn_poll_keep_loop(struct tn_poll *poll, bool keep);
TN_API void tn_signal_keep_loop(struct tn_signal *sig, bool keep);
TN_API void tn_conn_keep_loop(struct tn_conn *conn, bool keep);
TN_API TN_MUST_CHECK int tn_server_keep_loop(struct tn_server *server, bool keep);
TN_API TN_MUST_CHECK int tn_loop_fd(struct tn_loop *loop);
TN_API uint64_t tn_loop_deadline(const struct tn_loop *loop);
TN_API int tn_loop_timeout_ms(const struct tn_loop *loop);
struct tn_local {
	uint32_t index;
	uint8_t len;
	uint8_t to_many;
	unsigned char ip[16];
	uint8_t via;
};
struct tn_addr {
	uint32_t len;
	unsigned char bytes[112];
	struct tn_local local;
};
enum tn_msg_kind {
	TN_MSG_ANY,
	TN_MSG_TEXT,
	TN_MSG_BINARY,
};
struct tn_msg {
	const void *data;
	size_t len;
	enum tn_msg_kind kind;
	const struct tn_addr *peer;
	unsigned hops;
	void *block;
};
struct tn_handler {
	void (*on_open)(struct tn_conn *conn, void *arg);
	void (*on_msg)(struct tn_conn *conn, const struct tn_msg *msg, void *arg);
	void (*on_drain)(struct tn_conn *conn, void *arg);
	void (*on_end)(struct tn_conn *conn, void *arg);
	void (*on_close)(struct tn_conn *conn, int err, void *arg);
	void (*on_bad)(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);
	void (*on_cut)(struct tn_conn *conn, void *arg);
	void (*on_pong)(struct tn_conn *conn, uint64_t round_ns, void *arg);
};
TN_API int tn_msg_local(const struct tn_conn *conn, const struct tn_msg *msg, struct tn_addr *local);
struct tn_frame_part {
	size_t taken;
	size_t at, len;
	size_t need;
	uint32_t seen;
	const char *why;
};
#define TN_FRAME_NAME_MAX 32
#define TN_FRAME_ENDS_MAX 64
struct tn_frame_ends {
	size_t head_len, tail_len;
	unsigned char head[TN_FRAME_ENDS_MAX], tail[TN_FRAME_ENDS_MAX];
};
struct iovec;
struct tn_frame {
	size_t size;
	const char *name;
	int (*next)(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg);
	int (*wrap)(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg);
	void *arg;
};
TN_API TN_MUST_CHECK int tn_frame_register(const struct tn_frame *frame);
enum tn_role { TN_SERVE, TN_DIAL };
TN_API int tn_url_check(const char *url, enum tn_role role);
TN_API int tn_url_keeps_messages(const char *url);
enum tn_url_kind {
	TN_URL_PACKETS = 1,
	TN_URL_DATAGRAMS = 2,
	TN_URL_LOSSY = 4,
	TN_URL_SECURE = 8,
	TN_URL_LOCAL = 16,
	TN_URL_BELOW = 32,
	TN_URL_ICMP = 64,
	TN_URL_INHERITED = 128,
	TN_URL_PROXY = 256,
	TN_URL_HTTP = 512,
	TN_URL_WEBSOCKET = 1024,
};
TN_API int tn_url_kind(const char *url);
TN_API int tn_url_has_key(const char *url, const char *key);
TN_API char *tn_hide_passwords(char *text);
TN_SIZED TN_MUST_CHECK int tn_serve(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
				    struct tn_server **server);
TN_SIZED TN_MUST_CHECK int tn_serve_loops(struct tn_loop *const *loops, int nloops, const char *url,
					  const struct tn_handler *handler, void *arg, struct tn_server **server);
TN_API void tn_server_limit(struct tn_server *server, unsigned max_conns);
TN_API int tn_server_nurls(const struct tn_server *server);
TN_API const char *tn_server_url(const struct tn_server *server, int index);
TN_API unsigned tn_server_nconns(const struct tn_server *server);
struct tn_counts {
	uint64_t open;
	uint64_t accepted;
	uint64_t closed;
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out;
	uint64_t bad;
	uint64_t lost;
	uint64_t dropped;
	uint64_t refused_limit;
	uint64_t refused_source;
	uint64_t refused_access;
	uint64_t refused_proxy;
	uint64_t handshakes;
	uint64_t resumed;
	uint64_t handshakes_failed, handshakes_timed_out;
	uint64_t accept_failed;
	uint64_t queue_peak;
};
TN_SIZED void tn_server_count(const struct tn_server *server, struct tn_counts *counts);
TN_API int tn_server_each(struct tn_server *server, void (*fn)(struct tn_conn *conn, void *arg), void *arg);
struct tn_watch {
	void (*on_open)(struct tn_conn *conn, void *arg);
	void (*on_close)(struct tn_conn *conn, int err, void *arg);
	void (*on_trouble)(struct tn_server *server, int err, const char *text, void *arg);
	void (*on_bad)(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);
};
TN_API unsigned tn_server_suppressed(const struct tn_server *server);
TN_API void tn_conn_trouble(struct tn_conn *conn, int err, const char *text);
TN_SIZED int tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg);
TN_API void tn_server_unwatch(struct tn_server *server, void *arg);
TN_API TN_MUST_CHECK int tn_server_reload(struct tn_server *server);
enum tn_file_use {
	TN_FILE_READ,
	TN_FILE_APPEND,
	TN_FILE_REMOVE,
	TN_FILE_LOOK,
};
TN_API int tn_server_file(const struct tn_server *server, int index, const char **path, enum tn_file_use *use);
TN_API int tn_url_file(const char *url, int index, char *path, size_t cap, enum tn_file_use *use);
TN_API void tn_set_files(int (*fn)(const char *path, enum tn_file_use use, void *arg), void *arg);
TN_API void tn_server_stop(struct tn_server *server);
TN_API void tn_server_close(struct tn_server *server, uint64_t drain_ms, void (*done)(void *arg), void *arg);
TN_SIZED TN_MUST_CHECK int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
				   struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_endpoint_new(const char *url, struct tn_endpoint **ep);
TN_API struct tn_endpoint *tn_endpoint_ref(struct tn_endpoint *ep);
TN_API void tn_endpoint_unref(struct tn_endpoint *ep);
TN_SIZED TN_MUST_CHECK int tn_dial_endpoint(struct tn_loop *loop, struct tn_endpoint *ep,
					    const struct tn_handler *handler, void *arg, struct tn_conn **conn);
TN_SIZED TN_MUST_CHECK int tn_dial_for(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
				       void *arg, const struct tn_conn *of, const struct tn_msg *msg,
				       struct tn_conn **conn);
enum tn_proxy_type {
	TN_PROXY_ALPN = 0x01,
	TN_PROXY_AUTHORITY = 0x02,
	TN_PROXY_CRC32C = 0x03,
	TN_PROXY_NOOP = 0x04,
	TN_PROXY_UNIQUE_ID = 0x05,
	TN_PROXY_SSL = 0x20,
	TN_PROXY_SSL_VERSION = 0x21,
	TN_PROXY_SSL_CN = 0x22,
	TN_PROXY_SSL_CIPHER = 0x23,
	TN_PROXY_SSL_SIG_ALG = 0x24,
	TN_PROXY_SSL_KEY_ALG = 0x25,
	TN_PROXY_NETNS = 0x30,
};
struct tn_proxy {
	int version;
	bool local;
	struct tn_addr client;
	struct tn_addr target;
	struct tn_addr sender;
	bool tls;
	bool has_cert, verified;
	const unsigned char *tlvs;
	size_t tlvs_len;
};
TN_SIZED TN_MUST_CHECK int tn_conn_proxy(const struct tn_conn *conn, struct tn_proxy *proxy);
TN_API int tn_proxy_tlv(const struct tn_proxy *proxy, unsigned type, const unsigned char **value, size_t *len);
enum tn_asked_what {
	TN_ASKED_CONNECT = 1,
	TN_ASKED_UDP = 2,
};
struct tn_asked {
	enum tn_asked_what what;
	const char *protocol;
	const char *host;
	int port;
	const char *user;
};
TN_SIZED int tn_conn_asked(const struct tn_conn *client, struct tn_asked *asked);
TN_SIZED TN_MUST_CHECK int tn_dial_asked(struct tn_conn *client, enum tn_asked_what what, const char *host, int port,
					 const char *keys, const struct tn_handler *handler, void *arg,
					 struct tn_conn **conn);
TN_API int tn_conn_answer(struct tn_conn *client, int err, const struct tn_conn *used);
TN_API TN_MUST_CHECK int tn_send(struct tn_conn *conn, const void *data, size_t len);
TN_API TN_MUST_CHECK int tn_reply(struct tn_conn *conn, const struct tn_msg *msg, const void *data, size_t len);
TN_API TN_MUST_CHECK int tn_send_as(struct tn_conn *conn, enum tn_msg_kind kind, const void *data, size_t len);
struct iovec;
TN_API TN_MUST_CHECK int tn_sendv(struct tn_conn *conn, const struct iovec *iov, int count);
TN_API TN_MUST_CHECK int tn_replyv(struct tn_conn *conn, const struct tn_msg *msg, const struct iovec *iov, int count);
TN_API TN_MUST_CHECK int tn_forward(struct tn_conn *conn, const struct tn_msg *msg);
struct tn_shared;
TN_API TN_MUST_CHECK int tn_shared_new(const void *data, size_t len, enum tn_msg_kind kind, struct tn_shared **shared);
TN_API TN_MUST_CHECK int tn_shared_from(const struct tn_msg *msg, struct tn_shared **shared);
TN_API struct tn_shared *tn_shared_ref(struct tn_shared *shared);
TN_API void tn_shared_unref(struct tn_shared *shared);
TN_API const void *tn_shared_data(const struct tn_shared *shared, size_t *len);
TN_API TN_MUST_CHECK int tn_send_shared(struct tn_conn *conn, struct tn_shared *shared);
TN_API int tn_conn_fade(struct tn_conn *conn);
TN_API int tn_finish(struct tn_conn *conn);
TN_API void tn_conn_hold(struct tn_conn *conn);
TN_API void tn_conn_release(struct tn_conn *conn);
enum tn_sent {
	TN_SENT_TAKEN,
	TN_SENT_ACKNOWLEDGED,
};
TN_API TN_MUST_CHECK int tn_when_sent(struct tn_conn *conn, enum tn_sent how,
				      void (*fn)(struct tn_conn *conn, int err, void *arg), void *arg);
TN_API int tn_flush(struct tn_conn *conn);
TN_API TN_MUST_CHECK int tn_join(struct tn_conn *a, struct tn_conn *b);
struct tn_pass {
	int (*msg)(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg);
	int (*room)(struct tn_conn *from, struct tn_conn *to, void *arg);
	void (*end)(struct tn_conn *from, struct tn_conn *to, void *arg);
	void (*cut)(struct tn_conn *from, struct tn_conn *to, void *arg);
};
TN_SIZED TN_MUST_CHECK int tn_flow(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, void *arg);
TN_API void tn_pause(struct tn_conn *conn);
TN_API void tn_resume(struct tn_conn *conn);
TN_API void tn_close(struct tn_conn *conn);
TN_API int tn_close_with(struct tn_conn *conn, int code, const char *reason);
TN_API void tn_abort(struct tn_conn *conn, int err);
TN_SIZED TN_MUST_CHECK int tn_conn_set_handler(struct tn_conn *conn, const struct tn_handler *handler, void *arg);
TN_API void tn_conn_detach(struct tn_conn *conn);
TN_API void tn_conn_set_data(struct tn_conn *conn, void *data);
TN_API void *tn_conn_data(const struct tn_conn *conn);
TN_API uint64_t tn_conn_id(const struct tn_conn *conn);
TN_API struct tn_loop *tn_conn_loop(const struct tn_conn *conn);
TN_API struct tn_server *tn_conn_server(const struct tn_conn *conn);
TN_API size_t tn_conn_queued(const struct tn_conn *conn);
struct tn_conn_info {
	uint64_t bytes_in, bytes_out;
	uint64_t msgs_in, msgs_out;
	uint64_t lost;
	uint64_t dropped;
	uint64_t opened_ns;
	uint64_t stalled_ns;
	bool many;
	int fd;
	char local[384], peer[384];
	uint64_t lookup_ns;
	uint64_t first_ns;
	const char *via;
	uint64_t connected_ns;
};
TN_API TN_MUST_CHECK int tn_conn_peer(const struct tn_conn *conn, struct tn_addr *addr);
TN_API TN_MUST_CHECK int tn_conn_local(const struct tn_conn *conn, struct tn_addr *addr);
TN_SIZED void tn_conn_info(const struct tn_conn *conn, struct tn_conn_info *info);
struct tn_security {
	char protocol[16];
	char cipher[64];
	char alpn[256];
	char server_name[256];
	char identity[256];
	bool resumed;
};
TN_SIZED int tn_conn_security(const struct tn_conn *conn, struct tn_security *security);
TN_API TN_MUST_CHECK int tn_server_tls_later(struct tn_server *server, bool optional);
TN_API TN_MUST_CHECK int tn_tls_later(struct tn_conn *conn);
TN_API TN_MUST_CHECK int tn_start_tls(struct tn_conn *conn);
TN_API int tn_ping(struct tn_conn *conn);
struct tn_websocket {
	const char *subprotocol;
	const char *target;
	bool deflate;
	int peer_code;
	const char *peer_reason;
	int our_code;
	uint64_t round_ns;
};
TN_SIZED int tn_conn_websocket(const struct tn_conn *conn, struct tn_websocket *ws);
TN_API int tn_conn_peer_cert(const struct tn_conn *conn, int index, unsigned char **der, size_t *len);
TN_API const char *tn_addr_text(const struct tn_addr *addr, char *out, size_t cap);
TN_API const struct sockaddr *tn_addr_sockaddr(const struct tn_addr *addr);
TN_API TN_MUST_CHECK int tn_conn_handle(struct tn_conn *conn, struct tn_handle **handle);
TN_API struct tn_handle *tn_handle_ref(struct tn_handle *handle);
TN_API void tn_handle_unref(struct tn_handle *handle);
TN_API TN_MUST_CHECK int tn_handle_send(struct tn_handle *handle, const void *data, size_t len);
TN_API TN_MUST_CHECK int tn_handle_reply(struct tn_handle *handle, const struct tn_msg *msg, const void *data,
					 size_t len);
TN_API TN_MUST_CHECK int tn_handle_send_shared(struct tn_handle *handle, struct tn_shared *shared);
TN_API TN_MUST_CHECK int tn_handle_wait(struct tn_handle *handle, int timeout_ms);
TN_API TN_MUST_CHECK int tn_handle_call(struct tn_handle *handle, void (*fn)(struct tn_conn *conn, void *arg),
					void *arg);
TN_API int tn_handle_close(struct tn_handle *handle);
TN_API int tn_handle_release(struct tn_handle *handle);
TN_API int tn_handle_abort(struct tn_handle *handle, int err);
TN_API bool tn_handle_alive(const struct tn_handle *handle);
TN_API size_t tn_handle_queued(const struct tn_handle *handle);
TN_API uint64_t tn_handle_id(const struct tn_handle *handle);
TN_API struct tn_conn *tn_handle_conn(const struct tn_handle *handle);
TN_API TN_MUST_CHECK int tn_call(struct tn_loop *loop, const char *url, const void *request, size_t len, void **reply,
				 size_t *reply_len, int timeout_ms);
TN_API const char *tn_scheme_at(int index);
TN_API const char *tn_frame_at(int index, const char **meaning);
TN_API const char *tn_format_at(int index, const char **meaning);
TN_API int tn_frame_delimiter(const char *name);
enum tn_format_kind {
	TN_FORMAT_VALUES = 1,
	TN_FORMAT_TEXT = 2,
	TN_FORMAT_BLANK = 4,
};
TN_API int tn_format_kind(const char *name);
TN_API const char *tn_format_frame(const char *name);
struct tn_option {
	const char *key;
	const char *constant;
	const char *level;
	const char *type;
	const char *applies;
	const char *meaning;
};
TN_SIZED int tn_option_at(int index, struct tn_option *option);
TN_API int tn_conn_option(const struct tn_conn *conn, const char *key, char *value, size_t cap);
TN_API int tn_server_option(const struct tn_server *server, const char *key, char *value, size_t cap);
TN_API int tn_socket_option(int fd, const char *key, char *value, size_t cap);
#define TN_PLACE_ADDRS_MAX 64
struct tn_place {
	int family;
	int type;
	int protocol;
	int port;
	int naddrs;
	struct tn_addr addrs[TN_PLACE_ADDRS_MAX];
};
TN_SIZED int tn_url_place(const char *url, struct tn_place *place);
TN_API void tn_set_log(void (*fn)(bool important, const char *text, void *arg), void *arg);
TN_API const char *tn_version(void);
TN_API const char *const *tn_features(void);
TN_API int tn_parse_size(const char *text, uint64_t *bytes);
TN_API int tn_parse_duration(const char *text, uint64_t *ns);
TN_API const char *tn_nearest(const char *word, const char *const *words, size_t nwords);
TN_API TN_MUST_CHECK int tn_serve_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
					size_t size, void *arg, struct tn_server **server);
TN_API TN_MUST_CHECK int tn_serve_loops_sized(struct tn_loop *const *loops, int nloops, const char *url,
					      const struct tn_handler *handler, size_t size, void *arg,
					      struct tn_server **server);
TN_API int tn_server_watch_sized(struct tn_server *server, const struct tn_watch *watch, size_t size, void *arg);
TN_API void tn_server_count_sized(const struct tn_server *server, struct tn_counts *counts, size_t size);
TN_API TN_MUST_CHECK int tn_dial_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
				       size_t size, void *arg, struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_dial_for_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
					   size_t size, void *arg, const struct tn_conn *of, const struct tn_msg *msg,
					   struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_dial_endpoint_sized(struct tn_loop *loop, struct tn_endpoint *ep,
						const struct tn_handler *handler, size_t size, void *arg,
						struct tn_conn **conn);
TN_API int tn_conn_asked_sized(const struct tn_conn *client, struct tn_asked *asked, size_t size);
TN_API TN_MUST_CHECK int tn_dial_asked_sized(struct tn_conn *client, enum tn_asked_what what, const char *host,
					     int port, const char *keys, const struct tn_handler *handler, size_t size,
					     void *arg, struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_conn_proxy_sized(const struct tn_conn *conn, struct tn_proxy *proxy, size_t size);
TN_API TN_MUST_CHECK int tn_flow_sized(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass,
				       size_t size, void *arg);
TN_API TN_MUST_CHECK int tn_conn_set_handler_sized(struct tn_conn *conn, const struct tn_handler *handler, size_t size,
						   void *arg);
TN_API void tn_conn_info_sized(const struct tn_conn *conn, struct tn_conn_info *info, size_t size);
TN_API int tn_conn_security_sized(const struct tn_conn *conn, struct tn_security *security, size_t size);
TN_API int tn_conn_websocket_sized(const struct tn_conn *conn, struct tn_websocket *ws, size_t size);
TN_API int tn_option_at_sized(int index, struct tn_option *option, size_t size);
TN_API int tn_url_place_sized(const char *url, struct tn_place *place, size_t size);
#ifndef TNI_LIBRARY
static inline int tn_serve(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			   struct tn_server **server)
{
	return tn_serve_sized(loop, url, handler, sizeof(*handler), arg, server);
}
static inline int tn_serve_loops(struct tn_loop *const *loops, int nloops, const char *url,
				 const struct tn_handler *handler, void *arg, struct tn_server **server)
{
	return tn_serve_loops_sized(loops, nloops, url, handler, sizeof(*handler), arg, server);
}
static inline int tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg)
{
	return tn_server_watch_sized(server, watch, sizeof(*watch), arg);
}
static inline void tn_server_count(const struct tn_server *server, struct tn_counts *counts)
{
	tn_server_count_sized(server, counts, sizeof(*counts));
}
static inline int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			  struct tn_conn **conn)
{
	return tn_dial_sized(loop, url, handler, sizeof(*handler), arg, conn);
}
static inline int tn_dial_for(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			      const struct tn_conn *of, const struct tn_msg *msg, struct tn_conn **conn)
{
	return tn_dial_for_sized(loop, url, handler, sizeof(*handler), arg, of, msg, conn);
}
static inline int tn_dial_endpoint(struct tn_loop *loop, struct tn_endpoint *ep, const struct tn_handler *handler,
				   void *arg, struct tn_conn **conn)
{
	return tn_dial_endpoint_sized(loop, ep, handler, sizeof(*handler), arg, conn);
}
static inline int tn_conn_proxy(const struct tn_conn *conn, struct tn_proxy *proxy)
{
	return tn_conn_proxy_sized(conn, proxy, sizeof(*proxy));
}
static inline int tn_conn_asked(const struct tn_conn *client, struct tn_asked *asked)
{
	return tn_conn_asked_sized(client, asked, sizeof(*asked));
}
static inline int tn_dial_asked(struct tn_conn *client, enum tn_asked_what what, const char *host, int port,
				const char *keys, const struct tn_handler *handler, void *arg, struct tn_conn **conn)
{
	return tn_dial_asked_sized(client, what, host, port, keys, handler, sizeof(*handler), arg, conn);
}
static inline int tn_flow(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, void *arg)
{
	return tn_flow_sized(from, to, pass, sizeof(*pass), arg);
}
static inline int tn_conn_set_handler(struct tn_conn *conn, const struct tn_handler *handler, void *arg)
{
	return tn_conn_set_handler_sized(conn, handler, sizeof(*handler), arg);
}
static inline void tn_conn_info(const struct tn_conn *conn, struct tn_conn_info *info)
{
	tn_conn_info_sized(conn, info, sizeof(*info));
}
static inline int tn_conn_security(const struct tn_conn *conn, struct tn_security *security)
{
	return tn_conn_security_sized(conn, security, sizeof(*security));
}
static inline int tn_conn_websocket(const struct tn_conn *conn, struct tn_websocket *ws)
{
	return tn_conn_websocket_sized(conn, ws, sizeof(*ws));
}
static inline int tn_option_at(int index, struct tn_option *option)
{
	return tn_option_at_sized(index, option, sizeof(*option));
}
static inline int tn_url_place(const char *url, struct tn_place *place)
{
	return tn_url_place_sized(url, place, sizeof(*place));
}
#endif
#ifdef __cplusplus
}
#endif
#endif
