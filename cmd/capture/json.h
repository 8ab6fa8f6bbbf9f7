/* A packet as one line of JSON, and the parts of it. */
#ifndef TENON_CAPTURE_JSON_H
#define TENON_CAPTURE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "line.h"

void line_json(struct sink *sink, const struct packet *packet, uint64_t ns, const struct line_extra *extra);

/* Its parts. */
char *line_time_json(char *p, uint64_t ns);

/* Bytes as a JSON string, as common/json.h says. */
void line_json_string(struct sink *sink, const void *data, size_t len);

/* A comma and the member "data"; where it is not UTF-8, "data_base64" too. */
void line_json_data(struct sink *sink, const void *data, size_t len);

#endif
