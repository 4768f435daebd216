/* server/verifier.h -- the write verifier of an export: names one lifetime of the volatile state under it. It changes exactly
 * when writes that were completed and not flushed may have been lost:
 *
 * - this machine was booted anew (the kernel's boot id is in it);
 * - another file or disk is in the place of the one that was (struct disk_facts, identity, is in it);
 * - a sync has failed (disk_has_lost());
 * - what keeps the bytes ends with the process or the export: memory, a temporary overlay, a volatile cache;
 * - the power of such a cache was cut: verifier_renew().
 *
 * A server that is killed or restarted has lost nothing else, and gives the same number. A file or device that is closed after a
 * failed sync and opened again has the verifier from after it.
 *
 * One gap: that is known to this process only, and another that follows it in the same boot gives the number from before the failed
 * sync. It is not written to the disk, because what would have to keep it is the very filesystem that has just failed to keep what
 * it had: a record that may be missing would be trusted all the same.
 */
#pragma once

#include <stdint.h>

#include "cache/disk.h"

struct verifier {
	uint64_t lifetime; /* of what is below, and of all renewals */
};

/* Files and devices that have lost writes and are remembered by name. When there is no room for more, the verifiers of all others
 * change each time that one is opened after another has lost writes: too often, never too seldom. */
#define VERIFIER_LOSSES_MAX 256

/* verifier_init() - of an export whose disk has these facts. Any thread. */
void verifier_init(struct verifier *verifier, const struct disk_facts *facts);

/* verifier_renew() - writes may have been lost just now. */
void verifier_renew(struct verifier *verifier);

/* verifier_close() - @disk is about to be freed: keeps in mind whether it has lost writes. Any thread. */
void verifier_close(const struct verifier *verifier, struct disk *disk);

/* The verifier, as it is now; @disk is the export's. */
uint64_t verifier_value(const struct verifier *verifier, struct disk *disk);
