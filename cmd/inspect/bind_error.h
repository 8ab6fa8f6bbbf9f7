/* Why an endpoint cannot be bound, as far as this machine knows. */
#ifndef TENON_BIND_ERROR_H
#define TENON_BIND_ERROR_H

/* After the library's error: prints who has the address, or what would allow it. Prints nothing if nothing helps. */
void bind_error_explain(int err, const char *url);

#endif
