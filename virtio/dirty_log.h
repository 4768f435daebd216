/* virtio/dirty_log.h -- which pages of the guest's memory we have written: a bitmap that the VMM shares with us and takes
 * from while it copies the memory of the running guest to another machine.
 *
 * Counted; everybody may mark at the same time. A page is marked after it was written, never before: the VMM clears a
 * mark first and copies the page then, so a write that a mark came too early for would be lost.
 *
 * Spec: vhost-user, "Migration".
 */
#pragma once

#include <stdint.h>

#define DIRTY_LOG_PAGE 0x1000u

struct dirty_log;

/* dirty_log_new() - map @size bytes of bitmap from @offset of @fd (borrowed) on.
 * Returns 0 and a log with one reference in @out, or -errno and what is wrong in @why, a constant: -EINVAL: it is no
 * memory file, or shorter than it is said to be. */
int dirty_log_new(uint64_t size, uint64_t offset, int fd, struct dirty_log **out, const char **why);

struct dirty_log *dirty_log_get(struct dirty_log *log);
void dirty_log_put(struct dirty_log *log); /* NULL is fine */

/* How many bytes of guest addresses, from 0 on, it has bits for. */
uint64_t dirty_log_reach(const struct dirty_log *log);

/* dirty_log_mark() - these bytes were written, just now. What the log has no bits for is left out, with a line in the
 * daemon's log the first time. */
void dirty_log_mark(struct dirty_log *log, uint64_t guest_address, uint64_t length);
