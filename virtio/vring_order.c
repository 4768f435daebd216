/* virtio/vring_order.c -- a queue of the chains that are out, in the order they were taken.
 *
 * O1  A chain is in the queue once, from take to give, so there are never more than the ring has entries.
 */
#include "virtio/vring_order.h"

#include <assert.h>

#include "virtio/vring.h"

static struct vring_turn *turn_at(struct vring_order *order, uint16_t place)
{
	return &order->turn[place % VRING_SIZE_MAX];
}

bool vring_order_take(struct vring *ring, uint16_t id)
{
	struct vring_order *order = &ring->order;
	uint16_t place = order->end;

	if (order->is_out[id])
		return false;
	order->is_out[id] = true;
	order->place[id] = place;
	*turn_at(order, place) = (struct vring_turn){ .id = id };
	order->end++;
	return true;
}

void vring_order_give(struct vring *ring, uint16_t id, uint32_t written)
{
	struct vring_order *order = &ring->order;
	struct vring_turn *turn = turn_at(order, order->place[id]);

	assert(order->is_out[id] && turn->id == id && !turn->done); /* O1 */
	turn->done = true;
	turn->written = written;
	for (; order->first != order->end; order->first++) {
		turn = turn_at(order, order->first);
		if (!turn->done)
			return;
		order->is_out[turn->id] = false;
		ring->layout->give(ring, turn->id, turn->written);
	}
}
