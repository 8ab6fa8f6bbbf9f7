/*
 * Datagrams that IP has fragmented, put together, in whatever order their fragments were captured. Fragments that
 * contradict each other are an attack and make no datagram (RFC 5722). Memory is bounded.
 */
#ifndef PACKET_FRAGMENTS_H
#define PACKET_FRAGMENTS_H

#include <stddef.h>
#include <stdint.h>

struct fragments;
struct packet;

/* Of datagrams whose first fragment was captured. */
struct fragments_counts {
	uint64_t unfinished;  /* others of theirs were not, or not as a whole */
	uint64_t conflicting; /* others of theirs say different things */
};

/* At most `memory_max` bytes of datagrams wait for their rest. Returns 0 or -ENOMEM. */
int fragments_new(struct fragments **fragments, size_t memory_max);

/*
 * Takes a fragment that was captured at `ns`. Returns 1 if it was the last that was missing: `whole` is the datagram,
 * decoded, whose bytes stay until the next call; 0: more are missing, or it is useless; -ENOMEM.
 */
int fragments_take(struct fragments *fragments, const struct packet *packet, uint64_t ns, struct packet *whole);

/* The capture has ended: what waits will never be whole. */
const struct fragments_counts *fragments_over(struct fragments *fragments);

/* How many bytes are kept. */
size_t fragments_memory(const struct fragments *fragments);

void fragments_free(struct fragments *fragments);

#endif
