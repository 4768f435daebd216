/* client/uri.h -- an NBD URI as it may be shown. */
#pragma once

#include <stddef.h>

/* Room for every URI that is shown whole; a longer one is cut. */
#define URI_SHOWN_SIZE 256

/* uri_shown() - @uri without what a log must not have: no user or password before the host, and of the parameters only
 * the Unix socket's path. Any text may be given. Returns @out.
 * Spec: NBD uri.md. */
const char *uri_shown(const char *uri, char out[URI_SHOWN_SIZE]);
