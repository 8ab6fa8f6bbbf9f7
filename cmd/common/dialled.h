/* URLs that are dialled. */
#ifndef TENON_COMMON_DIALLED_H
#define TENON_COMMON_DIALLED_H

/*
 * Checks one that is dialled by who does not wait for it to be dialled again (key reconnect), so that this is told once
 * and not by each connection. Returns an exit status; what is wrong has been told.
 */
int dialled_check(const char *url);

#endif
