/* server/recording.h -- exports that are recorded (cache/record.h): from their start on, or as an operator asks.
 *
 * For the main thread. An export that is not recorded costs nothing for it.
 */
#pragma once

#include <stddef.h>

#include "conf/control.h"

struct export;

/* recording_start() - record @export, which has a disk of its own, in the file at @path, which must not exist.
 * Returns 0, and the log tells; or -errno with the reason in @why: -EBUSY: it is recorded already. */
int recording_start(struct export *export, const char *path, char *why, size_t why_size);

/* For control_register(), with the struct exports as its context. The commands are in vnbd-control(7). */
extern const struct control_command recording_commands[];
