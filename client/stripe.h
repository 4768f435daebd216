/* client/stripe.h -- one disk over several NBD connections to the same export, on one thread.
 *
 * Each request goes to the connection with the fewest of them, of those that work just now. Only for exports with can_multi_conn: there a flush on
 * one connection covers what was completed on every other. Spec: NBD proto.md, NBD_FLAG_CAN_MULTI_CONN.
 */
#pragma once

#include "cache/disk.h"
#include "client/link.h"

/* Connections that one thread may have to one export. */
#define STRIPE_LINKS_MAX 16u

/* stripe_new() - @links: 1 .. STRIPE_LINKS_MAX of one loop, all with @facts promised; taken, freed with the stripe.
 * Returns 0 and the disk, the caller's until disk_free(); or -ENOMEM, and @links are the caller's still. */
int stripe_new(struct link *const *links, unsigned count, const struct disk_facts *facts, struct disk **out);
