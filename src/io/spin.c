#include "io/memory.h"
#include "io/turn.h"

/*
 * Adaptive spin. A sleep and its wake cost tens of microseconds; when the recent idle gaps were about that short,
 * polling for a bounded while is cheaper and far quicker. Credit is earned by short gaps, lost by a long one; a spin
 * that finds nothing is paid for by sleeping through the next gaps, 1, 2, 4 ... of them. So an idle loop, and one that
 * shares its processor with the peer it waits for, soon sleep at once.
 */
#define SPIN_CREDIT 2
#define SPIN_BACKOFF_MAX 128

static bool spin_wanted(struct tni_spin *spin, uint64_t timeout_ns)
{
	/* A short timer is not worth it; with a long spin (key spin) a longer one is, as far as it goes. */
	if (!spin->max_ns || spin->credit < SPIN_CREDIT || (timeout_ns < spin->max_ns && timeout_ns < TNI_SPIN_AUTO_NS))
		return false;
	if (spin->skip) {
		spin->skip--;
		return false;
	}
	return true;
}

static void earn(struct tni_spin *spin, uint64_t gap_ns)
{
	if (gap_ns > 2 * spin->max_ns)
		spin->credit = 0;
	else if (spin->credit < SPIN_CREDIT)
		spin->credit++;
}

static void pay(struct tni_spin *spin)
{
	spin->backoff = spin->backoff ? spin->backoff * 2 : 1;
	if (spin->backoff > SPIN_BACKOFF_MAX)
		spin->backoff = SPIN_BACKOFF_MAX;
	spin->skip = spin->backoff;
}

/* So many looks into memory for each look at the clock. */
#define LOOKS 16

static bool found_in_memory(struct tn_loop *loop)
{
	uint64_t before = loop->completions;

	for (int i = 0; i < LOOKS && tni_memory_is_hot(loop); i++) {
		tni_memory_look(loop);
		if (loop->completions != before)
			return true;
	}
	return false;
}

/* With an embedded loop an engine may have more to look at than what its wait() does. */
static int look(struct tn_loop *loop, uint64_t now)
{
	int rc;

	if (tni_memory_is_enough(loop, now)) {
		(void)found_in_memory(loop);
		return 0;
	}
	loop->asked_ns = now;
	rc = loop->engine->wait(loop, 0);

	return rc >= 0 && loop->embed.on && loop->engine->after_turn ? loop->engine->after_turn(loop) : rc;
}

static int spin_until_event(struct tn_loop *loop, uint64_t idle_since, uint64_t timeout_ns, bool *found)
{
	uint64_t most_ns = timeout_ns < loop->spin.max_ns ? timeout_ns : loop->spin.max_ns;
	uint64_t before = loop->completions, idle_from = 0, now = idle_since;
	int rc;

	do {
		rc = look(loop, now);
		if (rc < 0 || loop->completions != before || !tni_inbox_is_empty(loop->inbox)) {
			loop->spin.idle_ns += idle_from ? now - idle_from : 0;
			loop->spin.backoff = 0;
			*found = true;
			return rc;
		}
		now = tni_clock_ns();
		if (!idle_from) /* the first poll may have carried out what was submitted: that was no waiting */
			idle_from = now;
	} while (now - idle_since < most_ns && !atomic_load(&loop->stop));
	loop->spin.idle_ns += now - idle_from;
	if (most_ns < loop->spin.max_ns)
		return 0; /* ended by a timer: no sign that spinning is in vain */
	pay(&loop->spin);
	return 0;
}

int tni_spin_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct tni_spin *spin = &loop->spin;
	bool found = false, wanted = spin_wanted(spin, timeout_ns);
	uint64_t idle_since, spun_ns;
	int rc;

	/* A message that comes at once costs no system call; the engine has its turn all the same. */
	if (wanted && tni_memory_is_enough(loop, loop->now_ns) && found_in_memory(loop)) {
		spin->backoff = 0;
		return 0;
	}
	idle_since = tni_clock_ns();
	if (wanted) {
		rc = spin_until_event(loop, idle_since, timeout_ns, &found);
		if (found)
			return rc;
		spun_ns = tni_clock_ns() - idle_since;
		if (timeout_ns != TNI_NEVER)
			timeout_ns = spun_ns < timeout_ns ? timeout_ns - spun_ns : 0;
	}
	rc = tni_inbox_wait(loop, timeout_ns);
	earn(spin, tni_clock_ns() - idle_since);
	return rc;
}

void tni_spin_turned(struct tn_loop *loop, bool found)
{
	struct tni_spin *spin = &loop->spin;
	uint64_t now = spin->max_ns ? tni_clock_ns() : 0, next;

	if (!now)
		return;
	if (found) {
		if (spin->again) {
			spin->idle_ns += loop->now_ns > spin->quiet_ns ? loop->now_ns - spin->quiet_ns : 0;
			spin->backoff = 0;
		}
		earn(spin, loop->now_ns > spin->quiet_ns ? loop->now_ns - spin->quiet_ns : 0);
		next = tni_timers_next(&loop->timers);
		spin->quiet_ns = now;
		spin->again = spin_wanted(spin, next == TNI_NEVER || next > now ? next - now : 0);
	} else if (spin->again && now - spin->quiet_ns >= spin->max_ns) {
		spin->idle_ns += now - spin->quiet_ns;
		spin->again = false;
		pay(spin);
	}
}

uint64_t tn_loop_spun_ns(const struct tn_loop *loop)
{
	return loop->spin.idle_ns;
}
