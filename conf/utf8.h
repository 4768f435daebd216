/* conf/utf8.h -- whether bytes are text that a peer may be given: names that others chose are often not.
 * Spec: RFC 3629, section 4; NBD proto.md, "Conventions". */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether @bytes are a sequence of UTF-8 code points without NUL. */
bool utf8_is_text(const char *bytes, size_t length);
