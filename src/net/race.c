#include "net/race.h"

#include "net/addr.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

static int family_index(int family)
{
	return family == AF_INET6 ? 0 : 1;
}

void tni_race_init(struct tni_race *race, int first)
{
	*race = (struct tni_race){.turn = family_index(first)};
}

void tni_race_free(struct tni_race *race)
{
	free(race->addrs[0]);
	free(race->addrs[1]);
}

void tni_race_expect(struct tni_race *race, int family)
{
	race->asked[family_index(family)] = true;
}

static bool has_addr(const struct tni_race *race, int f, const struct tn_addr *addr)
{
	for (int i = 0; i < race->n[f]; i++)
		if (tni_addr_equal(&race->addrs[f][i], addr))
			return true;
	return false;
}

int tni_race_answer(struct tni_race *race, int family, const struct tn_addr *addrs, int n, uint64_t now_ns)
{
	int f = family_index(family);

	if (n > 0) {
		struct tn_addr *all = realloc(race->addrs[f], (size_t)(race->n[f] + n) * sizeof(*all));

		if (!all)
			return -ENOMEM;
		race->addrs[f] = all;
	}
	for (int i = 0; i < n; i++)
		if (!has_addr(race, f, &addrs[i]))
			race->addrs[f][race->n[f]++] = addrs[i];
	race->asked[f] = false;
	if (race->started)
		return 0;
	/* IPv4 waits for IPv6, but not for long; IPv6, or the news that there is none, ends the wait. */
	race->not_before_ns = f == 1 && race->asked[0] ? now_ns + TNI_RACE_RESOLUTION_NS : 0;
	return 0;
}

void tni_race_first(struct tni_race *race, int family)
{
	if (!race->started)
		race->turn = family_index(family);
}

enum tni_race_step tni_race_next(struct tni_race *race, uint64_t now_ns, const struct tn_addr **addr, uint64_t *when_ns)
{
	int f = race->turn;

	if (race->next[f] == race->n[f])
		f = 1 - f;
	*when_ns = TNI_NEVER;
	if (race->next[f] == race->n[f])
		return race->pending || race->asked[0] || race->asked[1] ? TNI_RACE_WAIT : TNI_RACE_LOST;
	if (now_ns < race->not_before_ns) {
		*when_ns = race->not_before_ns;
		return TNI_RACE_WAIT;
	}
	*addr = &race->addrs[f][race->next[f]++];
	race->turn = 1 - f;
	race->started = true;
	race->pending++;
	race->not_before_ns = now_ns + TNI_RACE_ATTEMPT_NS;
	return TNI_RACE_START;
}

void tni_race_failed(struct tni_race *race)
{
	race->pending--;
	race->not_before_ns = 0;
}
