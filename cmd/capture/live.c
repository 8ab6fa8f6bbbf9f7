/* Packets as they pass an interface: libpcap's part of the work. */
#include "live.h"

#include "common/clock.h"
#include "common/complain.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "line.h"
#include "packet/capfile.h"
#include "packet/packet.h"
#include "tenon.h"

#ifdef TNI_HAVE_PCAP
#include "libpcap.h"
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SNAPLEN 262144
#define GATHER_MS 100 /* how long the kernel may gather packets before it shows them */
#define LOOK_MS 300   /* how often it is asked whether the interface is still there */
#define LAST_MS 250   /* after the end: what the kernel has gathered until then is shown */
#define NAMES_MAX 64

#define NAMES_KEPT 64

/* An interface of the system. */
struct name {
	unsigned index;
	char text[IF_NAMESIZE];
};

struct live {
	pcap_t *pcap;
	struct name names[NAMES_KEPT];
	struct capfile_iface iface;
	const struct live_user *user;
	struct tn_loop *loop;
	struct tn_poll *poll;
	struct tn_timer *timer, *look;
	unsigned index; /* of the interface; 0: it has none (any) */
	bool down;
	uint64_t taken, until_ns; /* until_ns: what was captured later is not wanted; 0: no end yet */
	int status;
};

const char *live_library(void)
{
	return libpcap_load() == 0 ? libpcap.lib_version() : libpcap_missing();
}

/* ---- opening ---- */

static int no_permission(const char *name)
{
	char self[512];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = 0;
	complain("capture: %s: may not be opened: that takes the capability CAP_NET_RAW", name);
	complain_hint("sudo %s capture ..., or once: sudo setcap cap_net_raw+ep %s", settings.program,
		      len > 0 ? self : settings.program);
	return STATUS_FAILED;
}

static int no_device(const char *name)
{
	struct if_nameindex *all = if_nameindex();
	const char *names[NAMES_MAX + 1] = {"any"}, *near;
	struct text text = {0};
	size_t n = 1;

	for (const struct if_nameindex *i = all; i && i->if_index && n < NAMES_MAX; i++)
		names[n++] = i->if_name;
	near = tn_nearest(name, names, n);
	for (size_t i = 0; i < n && !near; i++)
		text_add(&text, " %s", names[i]);
	if (near)
		complain("capture: there is no interface '%.64s' (did you mean %s?)", name, near);
	else
		complain("capture: there is no interface '%.64s'; there are:%.*s", name, (int)text.len, text.data);
	text_free(&text);
	if_freenameindex(all);
	return STATUS_FAILED;
}

static int refused(const struct live *live, int err)
{
	const char *name = live->iface.name;

	if (err == PCAP_ERROR_PERM_DENIED || err == PCAP_ERROR_PROMISC_PERM_DENIED)
		return no_permission(name);
	if (err == PCAP_ERROR_NO_SUCH_DEVICE)
		return no_device(name);
	if (err == PCAP_ERROR_IFACE_NOT_UP) {
		complain("capture: %s: the interface is down", name);
		complain_hint("sudo ip link set %s up", name);
	} else {
		complain("capture: %s: %s", name,
			 err == PCAP_ERROR ? libpcap.geterr(live->pcap) : libpcap.statustostr(err));
	}
	return STATUS_FAILED;
}

static int activate(struct live *live, const struct live_spec *spec)
{
	int err;

	libpcap.set_snaplen(live->pcap, spec->snaplen ? (int)spec->snaplen : SNAPLEN);
	libpcap.set_promisc(live->pcap, spec->promiscuous);
	libpcap.set_timeout(live->pcap, GATHER_MS);
	libpcap.set_tstamp_precision(live->pcap, PCAP_TSTAMP_PRECISION_NANO);
	libpcap.set_buffer_size(live->pcap, (int)spec->buffer);
	err = libpcap.activate(live->pcap);
	if (err > 0 && !settings.quiet)
		complain("capture: %s: %s", live->iface.name, libpcap.statustostr(err));
	return err < 0 ? refused(live, err) : 0;
}

/* Of the cooked headers the second tells the interface. Where there is none this fails, and nothing is lost. */
static void choose_link(struct live *live)
{
	if (libpcap.datalink(live->pcap) == DLT_LINUX_SLL)
		libpcap.set_datalink(live->pcap, DLT_LINUX_SLL2);
	live->iface.link = (uint16_t)libpcap.datalink(live->pcap);
	if (live->iface.link == DLT_RAW) /* whose number in files is another */
		live->iface.link = LINK_RAW;
	live->iface.snaplen = (uint32_t)libpcap.snapshot(live->pcap);
	live->iface.nanoseconds = libpcap.get_tstamp_precision(live->pcap) == PCAP_TSTAMP_PRECISION_NANO;
}

static int set_filter(struct live *live, const char *filter)
{
	struct bpf_program program;
	int err;

	if (!filter)
		return 0;
	live->iface.filter = strdup(filter);
	err = libpcap.compile(live->pcap, &program, filter, 1, PCAP_NETMASK_UNKNOWN);
	if (err == 0) {
		err = libpcap.setfilter(live->pcap, &program);
		libpcap.freecode(&program);
	}
	if (err == 0)
		return 0;
	complain("filter: %s", libpcap.geterr(live->pcap));
	return STATUS_USAGE;
}

static int set_direction(struct live *live, enum live_direction direction)
{
	if (direction == LIVE_BOTH ||
	    libpcap.setdirection(live->pcap, direction == LIVE_IN ? PCAP_D_IN : PCAP_D_OUT) == 0)
		return 0;
	complain("capture: %s: --direction: %s", live->iface.name, libpcap.geterr(live->pcap));
	return STATUS_FAILED;
}

int live_open(struct live **out, const struct live_spec *spec)
{
	struct live *live = NULL;
	char why[PCAP_ERRBUF_SIZE] = "out of memory";
	int status;

	if (libpcap_load() < 0) {
		complain("capture: %s", libpcap_missing());
		return STATUS_FAILED;
	}
	live = calloc(1, sizeof(*live));
	if (live) {
		live->iface.name = strdup(spec->iface);
		live->pcap = libpcap.create(spec->iface, why);
	}
	if (!live || !live->pcap || !live->iface.name) {
		complain("capture: %s: %s", spec->iface, why);
		live_free(live);
		return STATUS_FAILED;
	}
	status = activate(live, spec);
	if (status == 0) {
		choose_link(live);
		status = set_filter(live, spec->filter);
	}
	if (status == 0)
		status = set_direction(live, spec->direction);
	if (status == 0 && libpcap.setnonblock(live->pcap, 1, why) < 0) {
		complain("capture: %s: %s", spec->iface, why);
		status = STATUS_FAILED;
	}
	if (status == 0)
		*out = live;
	else
		live_free(live);
	return status;
}

const struct capfile_iface *live_iface(const struct live *live)
{
	return &live->iface;
}

const char *live_iface_name(struct live *live, unsigned index)
{
	struct name *name = &live->names[index % NAMES_KEPT];

	if (name->index != index) {
		name->index = index;
		if (!if_indextoname(index, name->text))
			name->text[0] = 0;
	}
	return name->text[0] ? name->text : NULL;
}

/* ---- running ---- */

static void stop(struct live *live, int status)
{
	live->status = status;
	libpcap.breakloop(live->pcap);
	tn_loop_stop(live->loop);
}

static void on_packet(u_char *arg, const struct pcap_pkthdr *head, const u_char *data)
{
	struct live *live = (struct live *)(void *)arg;
	struct capfile_record record = {
		.kind = CAPFILE_PACKET, .iface = &live->iface, .data = data, .caplen = head->caplen, .len = head->len};
	int rc;

	record.ns = (uint64_t)head->ts.tv_sec * NS_PER_S +
		    (uint64_t)head->ts.tv_usec * (live->iface.nanoseconds ? 1 : 1000);
	if (live->status >= 0 || (live->until_ns && record.ns > live->until_ns))
		return;
	live->taken++;
	rc = live->user->take(live->user->arg, &record);
	if (rc != 0)
		stop(live, rc > 0 ? STATUS_DONE : STATUS_FAILED);
}

/* Up or down; -1: there is no such interface any more. By number: it may have got another name. */
static int is_up(unsigned index)
{
	struct ifreq request = {0};
	int fd, flags = -1;

	if (!if_indextoname(index, request.ifr_name))
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0)
		flags = request.ifr_flags;
	if (fd >= 0)
		close(fd);
	return flags < 0 || flags & IFF_UP;
}

static void on_ready(void *arg)
{
	struct live *live = arg;
	int rc;

	/* All there is: it would not be reported again */
	do
		rc = live->user->before(live->user->arg) < 0
			     ? PCAP_ERROR_BREAK
			     : libpcap.dispatch(live->pcap, -1, on_packet, (u_char *)live);
	while (rc > 0 && live->status < 0 && live->user->flush(live->user->arg) == 0);
	if (live->status >= 0)
		return;
	if (rc == PCAP_ERROR) {
		complain("capture: %s: %s", live->iface.name,
			 live->index && is_up(live->index) < 0 ? "the interface has gone" : libpcap.geterr(live->pcap));
		stop(live, STATUS_FAILED);
	} else if (rc == PCAP_ERROR_BREAK || live->user->flush(live->user->arg) < 0) {
		stop(live, STATUS_FAILED);
	}
}

static void on_last(void *arg)
{
	struct live *live = arg;

	live->timer = NULL;
	on_ready(live);
	if (live->status < 0)
		stop(live, STATUS_DONE);
}

/* What was captured before the signal is still shown: it is in a block that the kernel has not handed over yet. */
static void on_signal(int nth, void *arg)
{
	struct live *live = arg;

	live->until_ns = clock_utc_ns();
	if (nth > 1 || tn_timer_start(live->loop, LAST_MS, on_last, live, &live->timer) < 0)
		stop(live, STATUS_DONE);
}

/* A packet socket reports that its interface went down, but not that it was deleted. Both look like silence. */
static void on_look(void *arg)
{
	struct live *live = arg;
	int up = is_up(live->index);

	live->look = NULL;
	if (live->status >= 0)
		return;
	if (up < 0) {
		on_ready(live);
		if (live->status >= 0)
			return;
		complain("capture: %s: the interface has gone", live->iface.name);
		stop(live, STATUS_FAILED);
		return;
	}
	if (live->down == up && !settings.quiet)
		complain(up ? "capture: %s: the interface is up again"
			    : "capture: %s: the interface is down: waiting for it",
			 live->iface.name);
	live->down = !up;
	if (tn_timer_start(live->loop, LOOK_MS, on_look, live, &live->look) < 0)
		stop(live, complain_library(-ENOMEM, NULL));
}

static void on_reader_gone(void *arg)
{
	stop(arg, STATUS_DONE);
}

int live_run(struct live *live, const struct live_user *user)
{
	int err = options_loop_new(&live->loop, "epoll");

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	live->user = user;
	live->status = -1;
	err = signals_start(live->loop, on_signal, live);
	if (err >= 0 && user->writes_stdout)
		err = out_watch(live->loop, on_reader_gone, live);
	live->index = if_nametoindex(live->iface.name);
	if (err >= 0 && live->index)
		err = tn_timer_start(live->loop, LOOK_MS, on_look, live, &live->look);
	if (err >= 0)
		err = tn_poll_start(live->loop, libpcap.get_selectable_fd(live->pcap), on_ready, live, &live->poll);
	if (err >= 0) {
		if (!settings.quiet)
			complain("capture: listening on %s (%s)", live->iface.name, line_link(live->iface.link));
		err = tn_loop_run(live->loop);
	}
	if (err < 0)
		live->status = complain_library(err, NULL);
	tn_timer_stop(live->timer);
	tn_timer_stop(live->look);
	if (live->poll)
		tn_poll_stop(live->poll);
	out_unwatch();
	signals_stop();
	tn_loop_free(live->loop);
	return live->status < 0 ? STATUS_DONE : live->status;
}

void live_counts(struct live *live, struct live_counts *counts)
{
	struct pcap_stat stat = {0};

	libpcap.stats(live->pcap, &stat);
	*counts =
		(struct live_counts){.received = live->taken, .dropped = stat.ps_drop, .iface_dropped = stat.ps_ifdrop};
}

void live_free(struct live *live)
{
	if (!live)
		return;
	if (live->pcap)
		libpcap.close(live->pcap);
	free(live->iface.name);
	free(live->iface.filter);
	free(live);
}

#else

const char *live_library(void)
{
	return "not in this build: files can be read and written, without filters";
}

int live_open(struct live **live, const struct live_spec *spec)
{
	(void)spec;
	*live = NULL;
	complain("capture: live capture needs libpcap, which this build is without; --read FILE works");
	return STATUS_USAGE;
}

const struct capfile_iface *live_iface(const struct live *live)
{
	(void)live;
	return NULL;
}

const char *live_iface_name(struct live *live, unsigned index)
{
	(void)live, (void)index;
	return NULL;
}

int live_run(struct live *live, const struct live_user *user)
{
	(void)live, (void)user;
	return STATUS_USAGE;
}

void live_counts(struct live *live, struct live_counts *counts)
{
	(void)live;
	*counts = (struct live_counts){0};
}

void live_free(struct live *live)
{
	(void)live;
}

#endif
