/*
 * Networks beside our own (network_namespaces(7)): key netns. A socket belongs to the network in which it was made, for
 * good; what it is bound and connected to, and its options, are of that network. So the calling thread is there for
 * the time of making one, or of looking up an interface's name.
 */
#ifndef TNI_NET_NETNS_H
#define TNI_NET_NETNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_addr;

#ifdef TNI_HAVE_SOCKOPTS

/*
 * The file that a value names: NAME is /run/netns/NAME, a number the network of that process, what has a '/' the file
 * itself. Returns `out`; NULL: it is too long or no name.
 */
const char *tni_netns_path(const char *value, char *out, size_t cap);

/*
 * Takes the calling thread to a network (a value of the key); NULL: it stays. `home` brings it back. Returns 0, or
 * -errno with detail: then it has not moved, as where there would be no way back.
 */
int tni_netns_enter(const char *netns, int *home);
void tni_netns_leave(int home);

/*
 * Whether an address is this host's in that network (NULL: the thread's), which takes several calls of the kernel: what
 * was found of the last few addresses is believed for a second. *known begins as NULL, for free(3) in the end.
 */
struct tni_netns_known;
bool tni_netns_has(struct tni_netns_known **known, const char *netns, const struct tn_addr *addr, uint64_t now_ns);

#else /* there is no such key */

static inline int tni_netns_enter(const char *netns, int *home)
{
	(void)netns, (void)home;
	return 0;
}

static inline void tni_netns_leave(int home)
{
	(void)home;
}

#endif

#endif
