#include "net/group.h"

#include "net/addr.h"

#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define MOST 255 /* hops: nothing that a router has passed on comes with it */

/* A place that the group does not have means that the kernel chooses, as it does without a program. */
bool tni_group_steer(int fd, unsigned place)
{
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, place)};
	struct sock_fprog program = {.len = 1, .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) == 0;
}

void tni_group_unsteer(int fd)
{
	int unused = 0;

	setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof(unused));
}

/* The kernel gives what strangers send to no socket that is connected: to itself is possible everywhere. */
void tni_group_retire(int fd)
{
	struct tn_addr own;

	if (tni_addr_local(fd, &own) == 0)
		(void)connect(fd, tn_addr_sockaddr(&own), own.len);
}

static int number(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) < 0 ? 0 : value;
}

static void set(int fd, int ttl, int hops)
{
	/* Of an IPv6 socket the first is about IPv4 in IPv6's words; of one for IPv4 the second fails. */
	setsockopt(fd, IPPROTO_IP, IP_MINTTL, &ttl, sizeof(ttl));
	setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, &hops, sizeof(hops));
}

/*
 * A filter (SO_ATTACH_FILTER) would say it plainly, but a listener of TCP may have one only with CAP_NET_ADMIN. The
 * least time to live is not asked of what belongs to a handshake, only of SYNs and of connections; those inherit it.
 */
void tni_group_refuse_syn(int fd, struct tni_least_ttl *before)
{
	before->ttl = number(fd, IPPROTO_IP, IP_MINTTL);
	before->hops = number(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT);
	set(fd, MOST, MOST);
}

void tni_group_admit(int fd, const struct tni_least_ttl *before)
{
	set(fd, before->ttl, before->hops);
}

bool tni_group_missed(int fd, uint32_t *seen)
{
	uint32_t info[SK_MEMINFO_VARS] = {0}, before = *seen;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0)
		return false;
	*seen = info[SK_MEMINFO_DROPS];
	return *seen != before;
}
