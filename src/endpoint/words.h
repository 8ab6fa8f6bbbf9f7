/* Lists of words in tables: "on|off", "line crlf nul", "IP_TTL, IPV6_UNICAST_HOPS". */
#ifndef TNI_ENDPOINT_WORDS_H
#define TNI_ENDPOINT_WORDS_H

#include <stdbool.h>
#include <string.h>

/* Whether `word` is one of a list that blanks, commas or bars separate. */
static inline bool tni_words_have(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = strstr(list, word); at && len > 0; at = strstr(at + 1, word))
		if ((at == list || strchr(" ,|", at[-1])) && (!at[len] || strchr(" ,|", at[len])))
			return true;
	return false;
}

#endif
