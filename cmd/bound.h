/* Why an endpoint cannot be bound, as far as this machine knows. */
#ifndef TENON_BOUND_H
#define TENON_BOUND_H

/* Beneath the library's words for the error: who has the address, or what would allow it. Says nothing where nothing
 * helps. */
void bound_why(int err, const char *url);

#endif
