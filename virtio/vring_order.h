/* virtio/vring_order.h -- chains that the driver wants back in the order in which it made them available: those that are
 * done before their turn wait here. One slow request so holds up what came after it: only for drivers that asked for it.
 *
 * What waits here is in flight as far as the driver and the in-flight record know.
 * Spec: virtio, VIRTIO_F_IN_ORDER, "In-order use of descriptors".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vring;

/* vring_order_take() - chain @id was taken. Returns false where it is out already, and would have two turns. */
bool vring_order_take(struct vring *ring, uint16_t id);

/* vring_order_give() - as vring_give(); gives all back whose turn it is by that. */
void vring_order_give(struct vring *ring, uint16_t id, uint32_t written);
