#include "path.h"

#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tenon.h"

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (!a || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

/* The one that has the connection's own address. */
static void find_interface(const struct sockaddr *own, struct path *path)
{
	struct ifaddrs *all, *at;

	if (getifaddrs(&all) < 0)
		return;
	for (at = all; at && !*path->interface; at = at->ifa_next)
		if (same_address(at->ifa_addr, own))
			snprintf(path->interface, sizeof(path->interface), "%s", at->ifa_name);
	freeifaddrs(all);
}

static int feature(int fd, const char *interface, uint32_t which)
{
	struct ethtool_value value = {.cmd = which};
	struct ifreq request = {.ifr_data = (void *)&value};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	return ioctl(fd, SIOCETHTOOL, &request) == 0 ? value.data != 0 : -1;
}

static unsigned number(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) == 0 && value > 0 ? (unsigned)value : 0;
}

void path_look(const struct tn_conn *conn, struct path *path)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);
	struct tn_conn_info info;

	*path = (struct path){.tso = -1, .gso = -1, .gro = -1};
	tn_conn_info(conn, &info);
	if (info.fd < 0 || getsockname(info.fd, (struct sockaddr *)&own, &len) < 0 ||
	    (own.ss_family != AF_INET && own.ss_family != AF_INET6))
		return;
	path->mtu = own.ss_family == AF_INET ? number(info.fd, IPPROTO_IP, IP_MTU)
					     : number(info.fd, IPPROTO_IPV6, IPV6_MTU);
	path->mss = number(info.fd, IPPROTO_TCP, TCP_MAXSEG);
	find_interface((const struct sockaddr *)&own, path);
	if (!*path->interface)
		return;
	path->tso = feature(info.fd, path->interface, ETHTOOL_GTSO);
	path->gso = feature(info.fd, path->interface, ETHTOOL_GGSO);
	path->gro = feature(info.fd, path->interface, ETHTOOL_GGRO);
}
