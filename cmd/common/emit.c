#include "emit.h"

char *emit_ip6(char *p, const unsigned char *addr)
{
	unsigned words[8], best = 8, best_len = 1;

	for (unsigned i = 0; i < 8; i++)
		words[i] = (unsigned)addr[2 * i] << 8 | addr[2 * i + 1];
	for (unsigned i = 0, n; i < 8; i += n + 1) {
		for (n = 0; i + n < 8 && !words[i + n]; n++)
			;
		if (n > best_len) {
			best = i;
			best_len = n;
		}
	}
	if (best == 0 && best_len == 5 && words[5] == 0xffff) {
		p = EMIT(p, "::ffff:");
		return emit_ip4(p, addr + 12);
	}
	for (unsigned i = 0; i < 8; i++) {
		if (i == best) {
			p = EMIT(p, "::");
			i += best_len - 1;
			continue;
		}
		if (i > 0 && i != best + best_len)
			*p++ = ':';
		p = emit_hex(p, words[i], words[i] > 0xfff ? 4 : words[i] > 0xff ? 3 : words[i] > 0xf ? 2 : 1);
	}
	return p;
}
