/* libpcap, loaded when it is first needed: it brings a dozen libraries along, which the other commands do not need. */
#ifndef TENON_LIBPCAP_H
#define TENON_LIBPCAP_H

#include <pcap/pcap.h>

/* What is used of it, each by its name without pcap_. */
#define LIBPCAP_FUNCTIONS(F)    \
	F(activate)             \
	F(breakloop)            \
	F(close)                \
	F(compile)              \
	F(create)               \
	F(datalink)             \
	F(dispatch)             \
	F(freecode)             \
	F(geterr)               \
	F(get_selectable_fd)    \
	F(get_tstamp_precision) \
	F(lib_version)          \
	F(offline_filter)       \
	F(open_dead)            \
	F(set_buffer_size)      \
	F(set_datalink)         \
	F(set_promisc)          \
	F(set_snaplen)          \
	F(set_timeout)          \
	F(set_tstamp_precision) \
	F(setdirection)         \
	F(setfilter)            \
	F(setnonblock)          \
	F(snapshot)             \
	F(stats)                \
	F(statustostr)

#define LIBPCAP_MEMBER(name) __typeof__(pcap_##name) *name;
extern struct libpcap {
	LIBPCAP_FUNCTIONS(LIBPCAP_MEMBER)
} libpcap;

/* Loads it, once. 0, or -1: then libpcap_missing() says why. */
int libpcap_load(void);
const char *libpcap_missing(void);

#endif
